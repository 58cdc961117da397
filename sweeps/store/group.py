"""Variables over points in one Zarr group: the root of a store, or the group of its spot checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.sync import sync

from solvers.errors import InputError
from sweeps.store.layout import Layout, Variable, coordinate_variables
from sweeps.store.locations import cannot_write
from sweeps.store.status_table import StatusTable

if TYPE_CHECKING:
    from sweeps.plan.plan import Plan

CHUNK_KEYS = {"name": "default", "separator": "."}

Array = zarr.Array[Any]
Attributes = Mapping[str, Any]
#: Values of some neighbouring points by variable, each (point, ...).
Shard = dict[str, np.ndarray]


class PointGroup:
    """Arrays of an open Zarr group whose first axis is ``point``, their coordinates and their status."""

    def __init__(self, url: str, group: zarr.Group) -> None:
        self.url = url
        self.group = group

    def __contains__(self, name: str) -> bool:
        return name in self.group

    @property
    def attributes(self) -> Attributes:
        return self.group.attrs

    @property
    def array_names(self) -> list[str]:
        """Of all variables, in alphabetical order."""
        return sorted(name for name, _ in self.group.arrays())

    def array(self, name: str) -> Array:
        """A variable, nothing of it read yet; raises KeyError if it is not there."""
        found = self.group[name]
        if not isinstance(found, zarr.Array):
            raise KeyError(name)
        return found

    def read(self, name: str, rows: slice | int | np.ndarray = slice(None)) -> np.ndarray:
        """A variable, or some rows of it: a range, one, or those numbered."""
        array = self.array(name)
        if isinstance(rows, np.ndarray):  # one by one: of fields, 30 times faster than Zarr's `oindex`
            return np.stack([np.asarray(array[row]) for row in rows.tolist()])
        return np.asarray(array[rows])

    def read_shard(self, names: Iterable[str], start: int, stop: int) -> Shard:
        """Rows [start, stop) of the named variables."""
        return {name: self.read(name, slice(start, stop)) for name in names}

    @property
    def keys(self) -> np.ndarray:
        """Keys of the points, 'S32' (point,), storage order."""
        return self.read("key").astype("S32")

    @cached_property
    def table(self) -> StatusTable:
        """Status, error, computing time and engine of every sample, read when first asked for."""
        return StatusTable(self)

    def create_variables(self, variables: Mapping[str, Variable], sizes: Mapping[str, int]) -> None:
        for name, variable in variables.items():
            self.group.create_array(
                name,
                shape=tuple(sizes[d] for d in variable.dims),
                chunks=variable.chunks,
                shards=variable.shards,
                dtype=str if variable.dtype == "str" else variable.dtype,
                fill_value=variable.fill,
                compressors=_compressors(variable),
                dimension_names=variable.dims,
                attributes=dict(variable.attributes),  # type: ignore[arg-type]
                chunk_key_encoding=CHUNK_KEYS,  # type: ignore[arg-type]
                overwrite=True,
            )

    def create_variable(self, name: str, variable: Variable, values: np.ndarray) -> None:
        self.create_variables({name: variable}, dict(zip(variable.dims, values.shape, strict=True)))
        self.array(name)[...] = values

    def write_coordinates(self, plan: Plan, layout: Layout) -> None:
        """Write what names rows and columns: parameters, keys, design index, times, cells, k, quantile."""
        for name, (variable, values) in coordinate_variables(plan, layout).items():
            self.write_coordinate(name, variable, values)

    def write_coordinate(self, name: str, variable: Variable, values: np.ndarray) -> None:
        """Write a whole one-dimensional array as one object, replacing one that is there."""
        if name not in self:
            self.create_variables({name: variable}, {variable.dims[0]: len(values)})
        _with_empty_chunks(self.array(name))[:] = values.astype(str) if variable.dtype == "str" else values

    def write_rows(self, start: int, shard: Shard) -> None:
        """Write whole objects, each in one assignment; writing the same again changes nothing.

        Raises:
            InputError: if the rows are not whole objects, or the store cannot be written.
        """
        try:
            for name, values in shard.items():
                array = _with_empty_chunks(self.array(name))
                rows, stop = object_shape(array)[0], start + len(values)
                if start % rows or (stop % rows and stop != array.shape[0]):
                    raise InputError(f"{self.url}/{name}: rows {start} to {stop} are not whole objects of {rows} rows")
                array[start:stop] = values
        except OSError as error:
            raise cannot_write(self.url, error) from None


def _compressors(variable: Variable) -> list[BytesBytesCodec]:
    """lz4 after a byte shuffle writes fields at twice the speed of zstd for 6 % more bytes; the checksum is last."""
    if variable.dtype == "str":
        return [ZstdCodec(level=1), Crc32cCodec()]
    size = np.dtype(variable.dtype).itemsize
    return [BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=size), Crc32cCodec()]


def _with_empty_chunks(array: Array) -> Array:
    """An array that also writes chunks equal to the fill value: what is not on disk was never written."""
    return array.with_config({"write_empty_chunks": True})


def object_shape(array: Array) -> tuple[int, ...]:
    """Shape of the part of an array that is one object on disk."""
    return array.shards or array.chunks


def dimension_names(array: Array) -> tuple[str, ...]:
    return tuple(getattr(array.metadata, "dimension_names", None) or ())


def object_names(array: Array) -> set[str]:
    """Names of the objects (``c.0.0.0``) of an array that are on disk, from one listing."""

    async def listing() -> set[str]:
        return {key async for key in array.store.list_dir(array.path)}

    return {key for key in sync(listing()) if key.startswith("c") and not key.endswith(".partial")}


def object_name(array: Array, number: int) -> str:
    """Name of the object that holds batch ``number``; an object spans every axis but the first."""
    return array.metadata.encode_chunk_key((number,) + (0,) * (array.ndim - 1))
