"""The store on disk: its template, opening it, and whole shards in and out. Knows no Dask and no solver.

Every object carries a crc32c checksum, so that flipped bits are an error on reading. Local objects are
written to a temporary name and renamed, so a killed writer leaves an old or a new object and never half of
one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.errors import ContainsArrayError, GroupNotFoundError, ZarrUserWarning

from solvers.errors import InputError
from sweeps.inputs.paths import check_address, occupied
from sweeps.plan.plan import Plan
from sweeps.store.layout import DIVERGED, DONE, VERIFIED, Layout, Variable, extra_attributes, parameter_attributes
from sweeps.store.locations import anything_at, is_s3, local_path, location, object_store

FORMAT = "phasetwin-sweep"
FORMAT_VERSION = 1
UNFINISHED = f"{FORMAT} (being created)"
#: Root attribute with the checksum of the root's metadata; empty while they are being written.
SEAL = "metadata_crc32c"
CHUNK_KEYS = {"name": "default", "separator": "."}

Shard = dict[str, np.ndarray]
#: The temporary name under which Zarr begins a group's metadata.
FIRST_PARTIAL = r"zarr\.[0-9a-f]{32}\.partial"


def remove_partial_objects(url: str) -> None:
    """Delete what killed writers left half written under temporary names; the caller holds the lock."""
    path = local_path(url)
    for partial in path.rglob("*.partial") if path is not None else ():
        partial.unlink(missing_ok=True)


def open_root(url: str, mode: str = "r") -> zarr.Group | None:
    """The root group of a store, or None where there is nothing.

    Only the third format of Zarr is opened: the second knows a codec that unpickles.

    Raises:
        InputError: if something else is there, or it cannot be read.
    """
    check_address(url)
    path = local_path(url)
    try:
        # Writers look at what is on disk; only readers trust the gathered metadata, which a killed writer
        # may have left behind the times.
        gathered = None if mode == "r" else False
        root = zarr.open_group(location(url), mode=mode, zarr_format=3, use_consolidated=gathered)  # type: ignore[arg-type]
    except (FileNotFoundError, GroupNotFoundError):
        others = anything_at(url) if is_s3(url) else path is not None and occupied(path, FIRST_PARTIAL)
        if others:
            raise InputError(f"{url}: expected a sweep store, but other things are there") from None
        return None
    except ContainsArrayError:
        raise InputError(f"{url}: expected a sweep store, but found a Zarr array") from None
    except ImportError as error:
        raise InputError(f"{url}: this kind of URL needs a package that is not installed: {error}") from None
    except PermissionError:
        raise InputError(f"{url}: cannot be opened, permission denied") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{url}: expected a sweep store, but it cannot be read: {error}") from None
    return root


def open_store(url: str, mode: str = "r") -> zarr.Group:
    """The root group of a finished template.

    Raises:
        InputError: if there is no store, or what is there is not a whole store of this program.
    """
    root = open_root(url, mode)
    if root is None:
        raise InputError(f"{url}: expected a sweep store, but nothing is there; `phasetwin run FILE` makes one")
    check_format(root, url)
    missing = [name for name in ("status", "error", "wall_s", "engine", "key", "point") if name not in root]
    if missing:
        raise InputError(f"{url}: not a whole store, {', '.join(missing)} missing; delete it and run again")
    return root


def check_format(root: zarr.Group, url: str) -> None:
    """Refuse what this program did not write.

    Raises:
        InputError: for a foreign group, an unfinished template or a newer format.
    """
    found = root.attrs.get("format")
    if found == UNFINISHED:
        raise InputError(f"{url}: its creation was interrupted; run the sweep again to create it")
    if found != FORMAT:
        raise InputError(f"{url}: expected a sweep store, but found another Zarr group; choose another path")
    version = root.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"{url}: expected store format {FORMAT_VERSION}, but found {version}")


def cannot_write(url: str, error: OSError) -> InputError:
    """The line for a full disk, a read-only folder and the like."""
    place = url.removeprefix("file://")
    return InputError(f"{place}: cannot be written: {error.strerror or error}")


def create_store(url: str, plan: Plan, layout: Layout, attributes: Mapping[str, Any]) -> zarr.Group:
    """Write the template: metadata, coordinates, no results. An unfinished template is written anew.

    Raises:
        InputError: if the place cannot be written.
    """
    try:
        place = location(url)
        root = zarr.open_group(place, mode="w", zarr_format=3, attributes={"format": UNFINISHED})
        create_variables(root, {**layout.results(), **layout.ledger()}, layout.sizes)
        write_coordinates(root, plan, layout)
        update_attributes(root, {**attributes, **fixed_attributes(plan)})
    except OSError as error:
        raise cannot_write(url, error) from None
    except ImportError as error:
        raise InputError(f"{url}: this kind of URL needs a package that is not installed: {error}") from None
    return zarr.open_group(place, mode="r+", use_consolidated=False)


def fixed_attributes(plan: Plan) -> dict[str, Any]:
    """Root attributes that say what kind of store this is and what names its points."""
    coordinates = [*plan.parameters, "key"]
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "Conventions": "CF-1.11",
        "title": plan.config.name,
        "coordinates": " ".join(coordinates),
    }


def create_variables(group: zarr.Group, variables: Mapping[str, Variable], sizes: Mapping[str, int]) -> None:
    """Create empty arrays."""
    for name, variable in variables.items():
        group.create_array(
            name,
            shape=tuple(sizes[d] for d in variable.dims),
            chunks=variable.chunks,
            shards=variable.shards,
            dtype=str if variable.dtype == "str" else variable.dtype,
            fill_value=variable.fill,
            compressors=_compressors(variable),
            dimension_names=variable.dims,
            attributes=variable.attributes,
            chunk_key_encoding=CHUNK_KEYS,  # type: ignore[arg-type]
            overwrite=True,
        )


def _compressors(variable: Variable) -> list[Any]:
    """lz4 after a byte shuffle writes fields at twice the speed of zstd for 6 % more bytes; the checksum is last."""
    if variable.dtype == "str":
        return [ZstdCodec(level=1), Crc32cCodec()]
    size = np.dtype(variable.dtype).itemsize
    return [BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=size), Crc32cCodec()]


def write_coordinates(group: zarr.Group, plan: Plan, layout: Layout) -> None:
    """Write what names rows and columns: parameters, keys, design index, times, cells, k, quantile."""
    spacing = plan.config.grid.spacing
    for name, values in plan.parameters.items():
        write_coordinate(group, name, "point", values, parameter_attributes(layout.process, name))
    write_coordinate(group, "key", "point", plan.keys, {"units": "1", "long_name": "hash of all that determines it"})
    write_coordinate(group, "point", "point", plan.design_index, {"units": "1", "long_name": "row of the design"})
    realization = np.arange(layout.realizations)
    about = {"units": "1", "long_name": "number of the random start"}
    write_coordinate(group, "realization", "realization", realization, about)
    write_coordinate(group, "time", "time", layout.times, {"units": "time", "long_name": "time"})
    for name, values in layout.extra.items():
        write_coordinate(group, name, name, values, extra_attributes(layout.process, name))
    if not len(layout.field_index):
        return
    if layout.time_field_dim != "time":
        about_time = {"units": "time", "long_name": "times at which fields are kept"}
        write_coordinate(group, "time_field", "time_field", layout.times[layout.field_index], about_time)
    for name, cells in zip(("y", "x"), layout.shape, strict=True):
        about_cells = {"units": "length", "long_name": f"cell centre along {name}"}
        write_coordinate(group, name, name, (np.arange(cells) + 0.5) * spacing, about_cells)


def write_coordinate(group: zarr.Group, name: str, dim: str, values: np.ndarray, attributes: dict[str, Any]) -> None:
    """Write a whole one-dimensional array as one object, replacing one that is there."""
    text = values.dtype.kind in "SU"
    dtype = "str" if text else values.dtype.name
    variable = Variable((dim,), dtype, "" if text else 0, (max(1, len(values)),), None, attributes)
    if name not in group:
        create_variables(group, {name: variable}, {dim: len(values)})
    _writable(group[name])[:] = values.astype(str) if text else values


def _writable(array: Any) -> Any:
    """An array that also writes chunks equal to the fill value: what is not on disk was never written."""
    return array.with_config({"write_empty_chunks": True})


def update_attributes(root: zarr.Group, attributes: Mapping[str, Any]) -> None:
    """Set root attributes and gather all metadata in the root's file.

    Gathered metadata opens the store with one request, and xarray does not warn about its absence.
    """
    # One write of the whole metadata: a killed driver leaves all of it or none. Unsealed until all is written.
    root.update_attributes({**attributes, SEAL: ""})
    with warnings.catch_warnings():
        # Not yet in the Zarr v3 specification; readers that do not know it ignore it.
        warnings.simplefilter("ignore", ZarrUserWarning)
        zarr.consolidate_metadata(root.store)
    about = json.loads(read_bytes(root.store, "zarr.json") or b"{}")
    about["attributes"][SEAL] = seal(about)
    write_bytes(root.store, "zarr.json", json.dumps(about, indent=2).encode())


def seal(about: Mapping[str, Any]) -> str:
    """Checksum of a root's metadata, without the checksum itself: crc32c of its content, 8 hexadecimal digits."""
    attributes = {name: value for name, value in about.get("attributes", {}).items() if name != SEAL}
    text = json.dumps({**about, "attributes": attributes}, sort_keys=True, separators=(",", ":"))
    return f"{google_crc32c.value(text.encode()):08x}"


def read_bytes(where: str | Store, path: str) -> bytes | None:
    """An object as it is stored, None where there is none; ``where`` is a URL or an open Zarr store."""
    store = object_store(where) if isinstance(where, str) else where
    buffer = sync(store.get(path, default_buffer_prototype()))
    return None if buffer is None else buffer.to_bytes()


def remove_object(store: Store, path: str) -> None:
    """Delete an object."""
    sync(store.delete(path))


def write_bytes(store: Store, path: str, content: bytes) -> None:
    """Write an object as it is to be stored."""
    sync(store.set(path, default_buffer_prototype().buffer.from_bytes(content)))


def layout_in(root: zarr.Group, layout: Layout) -> Layout:
    """``layout`` with the batch size of the store: a later planner may choose another for the same sweep."""
    return replace(layout, batch=int(_object_shape(root["free_energy"])[0]))


def _object_shape(array: Any) -> tuple[int, ...]:
    return array.shards or array.chunks


def layout_difference(root: zarr.Group, layout: Layout) -> str | None:
    """What stands in the way of writing this layout into that store, in words; None if nothing does."""
    for name, variable in {**layout.results(), **layout.ledger()}.items():
        if name not in root:
            return f"{name} is not in the store"
        array: Any = root[name]
        there = dict(zip(array.metadata.dimension_names or (), array.shape, strict=False))
        here = {d: layout.sizes[d] for d in variable.dims}
        for dim in [*here, *(d for d in there if d not in here)]:
            if there.get(dim) != here.get(dim):
                return f"{dim} of {name}: {there.get(dim, 'none')} there, {here.get(dim, 'none')} in the file"
    extra = sorted({n for n, _ in root.arrays()} & {"field", "grain_id"} - set(layout.results()))
    return f"{', '.join(extra)} in the store, but not asked for in the file" if extra else None


def empty_shard(layout: Layout, rows: int) -> Shard:
    """Arrays for ``rows`` points, filled as if nothing had been computed."""
    sizes = {**layout.sizes, "point": rows}
    return {name: np.full([sizes[d] for d in v.dims], v.fill, dtype=v.dtype) for name, v in layout.results().items()}


def read_shard(root: zarr.Group, names: Any, start: int, stop: int) -> Shard:
    """Rows [start, stop) of the named variables."""
    return {name: np.asarray(root[name][start:stop]) for name in names}  # type: ignore[index]


def write_shard(url: str, start: int, shard: Shard, group: str = "") -> None:
    """Write whole objects, each in one assignment; writing the same again changes nothing.

    Raises:
        InputError: if the rows are not whole objects, or the store cannot be written.
    """
    try:
        root: Any = zarr.open_group(location(url), path=group, mode="r+")
        for name, values in shard.items():
            array = _writable(root[name])
            rows, stop = _object_shape(array)[0], start + len(values)
            if start % rows or (stop % rows and stop != array.shape[0]):
                raise InputError(f"{url}/{name}: rows {start} to {stop} are not whole objects of {rows} rows")
            array[start:stop] = values
    except OSError as error:
        raise cannot_write(url, error) from None


def object_names(array: Any, group: str = "") -> set[str]:
    """Names of the objects (``c.0.0.0``) of an array that are on disk, from one listing."""

    async def listing() -> set[str]:
        prefix = "/".join(p for p in (group, array.basename) if p)
        return {key async for key in array.store.list_dir(prefix)}

    return {key for key in sync(listing()) if key.startswith("c") and not key.endswith(".partial")}


def object_name(array: Any, number: int) -> str:
    """Name of the object that holds batch ``number``; an object spans every axis but the first."""
    return array.metadata.encode_chunk_key((number,) + (0,) * (array.ndim - 1))


def stored_config(root: zarr.Group) -> dict[str, Any]:
    """The resolved configuration in a store."""
    return json.loads(str(root.attrs["config"]))


def stored_keys(root: zarr.Group) -> np.ndarray:
    """Keys of the points, 'S' (point,), storage order."""
    return read(root, "key").astype("S32")


def read(group: Any, name: str) -> np.ndarray:
    """A whole array."""
    return np.asarray(group[name][:])


def finished(status: np.ndarray) -> np.ndarray:
    """Which samples need no computing: done, verified, diverged (failed ones are tried again)."""
    return np.isin(status, (DONE, VERIFIED, DIVERGED))
