"""The multistep scheme's arithmetic on the CPU, compiled: each pass over memory does all there is to do with it.

The same sums in plain torch (:mod:`solvers.integrators.predictor_corrector`) take a dozen passes, and several
microseconds for each call, which at 64 x 64 cells is most of the time. Loops over modes write one array each: with more
outputs the compiler cannot prove that arrays do not overlap, and does not vectorise.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.compiled import compiled, compiled_sums

SLOTS = 4  # three of history and the one being written
_TINY = 1e-30  # keeps 0 / 0 of a uniform state at 0, in float32 too
_SAFETY = 0.9
_GROW = 2.0
_LEAST_GROWTH = 0.5
_SHRINK = 0.3
_LARGEST_SHRINK = 0.8
REJECT = 1.5  # accepted up to this multiple of the step tolerance


@compiled
def multistep_weights(
    step: float, age1: float, age2: float
) -> tuple[tuple[float, float, float], tuple[float, float, float], float]:
    """Variable-step weights of order 3 for a step of size ``step``: e_j and a_j, three each, and b h.

    u_new = sum a_j u_j + b h du/dt(t + h). ``age1`` and ``age2`` are t - t_j of the second and third states of the
    history, positive and growing; the newest has age 0. History that does not exist yet may be given huge, distinct
    ages: its weights vanish and the order falls by one for each.
    """
    h2, h3 = step + age1, step + age2
    r12, r13, r23 = step / h2, step / h3, h2 / h3
    c12, c13, c23 = 1.0 - r12, 1.0 - r13, 1.0 - r23
    e0 = 1.0 / (c12 * c13)
    e1 = -r12 / (c12 * c23)
    e2 = r13 * r23 / (c13 * c23)
    # b h = 1 / (1/h + 1/h2 + 1/h3), and a_j = e_j b h / h_j.
    share = 1.0 / (1.0 + r12 + r13)
    return (e0, e1, e2), (e0 * share, e1 * r12 * share, e2 * r13 * share), step * share


@compiled
def set_weights(
    time: np.ndarray,
    times: np.ndarray,
    step: np.ndarray,
    order: np.ndarray,
    far: float,
    slot: int,
    weights: np.ndarray,
    beta_h: np.ndarray,
) -> None:
    """Fills ``weights`` (batch, 2, slot) with a_j and b h e_j, and ``beta_h`` (batch,), for the step into ``slot``."""
    first, second, third = (slot - 1) % SLOTS, (slot - 2) % SLOTS, (slot - 3) % SLOTS
    for b in range(len(time)):
        # An order of 2 moves the oldest state out of reach.
        beyond = far if order[b] < 3 else 0.0
        nodes, bdf, past = times[b], weights[b, 0], weights[b, 1]
        extrapolation, bdf_weights, share = multistep_weights(
            step[b], time[b] - nodes[second], time[b] - nodes[third] + beyond
        )
        bdf[slot], past[slot] = 0.0, 0.0
        bdf[first], bdf[second], bdf[third] = bdf_weights
        past[first], past[second] = share * extrapolation[0], share * extrapolation[1]
        past[third] = share * extrapolation[2]
        beta_h[b] = share


@compiled_sums
def predict(
    history: np.ndarray,
    predictions: np.ndarray,
    known: np.ndarray,
    weights: np.ndarray,
    beta_h: np.ndarray,
    stiff: np.ndarray,
    damping: np.ndarray,
    stabiliser: np.ndarray,
    slot: int,
) -> None:
    """known = sum a u (batch, component, F), and the prediction into its slot; arrays of ``CompiledPasses``."""
    one = beta_h.dtype.type(1.0)
    r0, r1, r2 = (slot - 1) % SLOTS, (slot - 2) % SLOTS, (slot - 3) % SLOTS
    for b in range(len(beta_h)):
        bdf, extrapolation = weights[b, 0], weights[b, 1]
        a0, a1, a2 = bdf[r0], bdf[r1], bdf[r2]
        e0, e1, e2 = extrapolation[r0], extrapolation[r1], extrapolation[r2]
        h, s = beta_h[b], stabiliser[b]
        decay = stiff[b if stiff.shape[0] > 1 else 0]
        for g in range(known.shape[1]):
            u0, u1, u2, k = history[b, r0, g], history[b, r1, g], history[b, r2, g], known[b, g]
            for i in range(len(damping)):
                k[i] = a0 * u0[i] + a1 * u1[i] + a2 * u2[i]
            q0, q1, q2 = history[b, SLOTS + r0, g], history[b, SLOTS + r1, g], history[b, SLOTS + r2, g]
            p = predictions[b, slot, g]
            for i in range(len(damping)):
                past = k[i] + e0 * q0[i] + e1 * q1[i] + e2 * q2[i]
                p[i] = past / (one + h * (decay[i] + s * damping[i]))


@compiled_sums
def correct(
    history: np.ndarray,
    predictions: np.ndarray,
    known: np.ndarray,
    explicit: np.ndarray,
    beta_h: np.ndarray,
    stiff: np.ndarray,
    damping: np.ndarray,
    stabiliser: np.ndarray,
    error_weights: np.ndarray,
    slot: int,
    square: np.ndarray,
) -> None:
    """Explicit terms and corrected states into their slot; ``square`` (batch,) is the mean square of u - u*."""
    one = beta_h.dtype.type(1.0)
    for b in range(len(beta_h)):
        h, s = beta_h[b], stabiliser[b]
        decay = stiff[b if stiff.shape[0] > 1 else 0]
        total = 0.0
        for g in range(known.shape[1]):
            q, u, p = history[b, SLOTS + slot, g], history[b, slot, g], predictions[b, slot, g]
            n, k = explicit[b, g], known[b, g]
            for i in range(len(damping)):
                q[i] = n[i] + s * damping[i] * p[i]
            for i in range(len(damping)):
                u[i] = (k[i] + h * q[i]) / (one + h * (decay[i] + s * damping[i]))
            part = beta_h.dtype.type(0.0)
            for i in range(len(damping)):
                difference = u[i] - p[i]
                part += error_weights[i] * difference * difference
            total += part
        square[b] = total


@compiled_sums
def restabilise(history: np.ndarray, predictions: np.ndarray, damping: np.ndarray, change: np.ndarray) -> None:
    """Adds change (batch,) * damping * u* to every stored explicit term."""
    for b in range(len(change)):
        if change[b] == 0.0:
            continue
        for slot in range(predictions.shape[1]):
            for g in range(predictions.shape[2]):
                q, p = history[b, SLOTS + slot, g], predictions[b, slot, g]
                for i in range(len(damping)):
                    q[i] += change[b] * damping[i] * p[i]


@compiled
def clear(history: np.ndarray, predictions: np.ndarray, slot: int) -> None:
    """Zeroes a slot of every sample."""
    for b in range(len(history)):
        for g in range(history.shape[2]):
            u, q, p = history[b, slot, g], history[b, SLOTS + slot, g], predictions[b, slot, g]
            for i in range(len(u)):
                u[i], q[i], p[i] = 0.0, 0.0, 0.0


@compiled
def stabilisation_change(
    wanted: np.ndarray, stabiliser: np.ndarray, accepted: np.ndarray, lag: float, slack: float, change: np.ndarray
) -> bool:
    """Moves ``stabiliser`` (batch,) to ``wanted`` where it is off, by ``change``; returns whether any moved.

    Too little costs stability at once, too much a little accuracy: up without delay, down with hysteresis.
    """
    moved = False
    for b in range(len(wanted)):
        off = wanted[b] - stabiliser[b]
        change[b] = off if accepted[b] and (off > lag or off < -slack) else 0.0
        stabiliser[b] += change[b]
        moved = moved or change[b] != 0.0
    return moved


@compiled_sums
def scale(
    history: np.ndarray,
    scale_weights: np.ndarray,
    error_weights: np.ndarray,
    attainable: float,
    slot: int,
    magnitude: np.ndarray,
) -> None:
    """Mean square (batch,) that errors of the states in ``slot`` are measured against, where finite."""
    for b in range(len(magnitude)):
        weights = scale_weights[b if scale_weights.shape[0] > 1 else 0]
        measured, all_of = 0.0, 0.0
        for g in range(history.shape[2]):
            u = history[b, slot, g]
            part, floor = error_weights.dtype.type(0.0), error_weights.dtype.type(0.0)
            for i in range(len(error_weights)):
                part += weights[i] * u[i] * u[i]
                floor += error_weights[i] * u[i] * u[i]
            measured += part
            all_of += floor
        least = attainable * all_of
        largest = measured if measured > least else least
        if math.isfinite(largest):
            magnitude[b] = largest


@compiled
def control(
    square: np.ndarray,
    magnitude: np.ndarray,
    step_tolerance: float,
    order: np.ndarray,
    slot: int,
    time: np.ndarray,
    times: np.ndarray,
    step: np.ndarray,
    count: np.ndarray,
    rejections: np.ndarray,
    diverged: np.ndarray,
    give_up: int,
    accepted: np.ndarray,
) -> bool:
    """Accepts or rejects each sample's step, moves its time and sets its next step; whether all were accepted."""
    everyone = True
    for b in range(len(time)):
        against = magnitude[b] if magnitude[b] > _TINY else _TINY
        error = math.sqrt(square[b] / against) if math.isfinite(square[b]) else math.inf
        now = count[b] if count[b] < order[b] else order[b]
        ratio = (step_tolerance / (error if error > _TINY else _TINY)) ** (1.0 / (now + 1.0))
        accepted[b] = error <= REJECT * step_tolerance and not diverged[b]
        if accepted[b]:
            time[b] += step[b]
            count[b] += 1
            rejections[b] = 0
            factor, least, most = _SAFETY * ratio, _LEAST_GROWTH, _GROW
        else:
            everyone = False
            rejections[b] += 1
            diverged[b] = diverged[b] or rejections[b] > give_up
            factor, least, most = _LARGEST_SHRINK * ratio, _SHRINK, _LARGEST_SHRINK
        step[b] *= least if factor < least else most if factor > most else factor
        times[b, slot] = time[b]
    return everyone


@compiled
def interpolation_weights(
    times: np.ndarray, count: np.ndarray, newest: int, owners: np.ndarray, wanted: np.ndarray, weights: np.ndarray
) -> None:
    """``weights`` (row, slot) of the polynomial through up to four last states of ``owners``, at ``wanted`` (row,)."""
    slots = weights.shape[1]
    for k in range(len(owners)):
        nodes, row = times[owners[k]], weights[k]
        states = count[owners[k]]
        for j in range(slots):
            node, weight = nodes[(newest - j) % slots], 1.0
            for m in range(slots):
                if m != j and m < states:
                    other = nodes[(newest - m) % slots]
                    weight *= (wanted[k] - other) / (node - other)
            row[(newest - j) % slots] = weight if j < states else 0.0


@compiled_sums
def combine(history: np.ndarray, owners: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """``out`` (row, component, F): the states of ``owners`` (row,), each slot times its weight, weights (row, slot)."""
    for k in range(len(owners)):
        by_slot = weights[k]
        w0, w1, w2, w3 = by_slot[0], by_slot[1], by_slot[2], by_slot[3]
        b = owners[k]
        for g in range(out.shape[1]):
            u0, u1, u2, u3, row = history[b, 0, g], history[b, 1, g], history[b, 2, g], history[b, 3, g], out[k, g]
            for i in range(len(row)):
                row[i] = w0 * u0[i] + w1 * u1[i] + w2 * u2[i] + w3 * u3[i]
