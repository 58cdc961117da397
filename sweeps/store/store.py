"""The store of a sweep: created whole, opened once, written in whole objects. Knows no Dask and no engine.

Every object carries a crc32c checksum, so that flipped bits are an error on reading. Local objects are written to a
temporary name and renamed, so a killed writer leaves an old or a new object and never half of one.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import google_crc32c
import numpy as np
import zarr
from zarr.errors import ContainsArrayError, GroupNotFoundError, ZarrUserWarning

from solvers.errors import InputError
from solvers.qois.registry import extra_axes
from sweeps.inputs.addresses import check_address, occupied
from sweeps.store.group import Attributes, PointGroup, Shard, dimension_names, object_shape
from sweeps.store.layout import ESTIMATE, Layout
from sweeps.store.locations import anything_at, cannot_write, is_s3, local_path, location, read_object, write_object

if TYPE_CHECKING:
    from sweeps.plan.plan import Plan

FORMAT = "phasetwin-sweep"
FORMAT_VERSION = 1
UNFINISHED = f"{FORMAT} (being created)"
#: Root attribute with the checksum of the root's metadata; empty while they are being written.
SEAL = "metadata_crc32c"
#: Path of a group's or an array's metadata below it.
METADATA = "zarr.json"
#: The groups of the spot checks: their solutions, and the errors found.
REFERENCE, VERIFICATION = "reference", "verification"
REQUIRED = ("status", "error", "wall_s", "engine", "key", "point")
#: What opening and reading a damaged or vanished store raises.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError)
#: The temporary name under which Zarr begins a group's metadata.
FIRST_PARTIAL = r"zarr\.[0-9a-f]{32}\.partial"


class Store(PointGroup):
    """The root group of a store.

    A store that is read is described by the metadata gathered in its root, one request for all; a store that is written
    by the metadata of each array, because a killed writer may have left the gathered ones behind the times.
    """

    @classmethod
    def open(cls, url: str, mode: str = "r") -> Self:
        """Open a complete store; raises InputError where there is none, or something else."""
        root = _open_root(url, mode)
        if root is None:
            raise InputError(f"{url}: expected a sweep store, but nothing is there; `phasetwin run FILE` makes one")
        _check_whole(root, url)
        return cls(url, root)

    @classmethod
    def find(cls, url: str) -> Self | None:
        """Open a store to read it, None where there is none or its creation was interrupted.

        Raises:
            InputError: if something else is there, or not a whole store.
        """
        root = _open_root(url, "r")
        if root is None or root.attrs.get("format") == UNFINISHED:
            return None
        _check_whole(root, url)
        return cls(url, root)

    @classmethod
    def create(cls, url: str, plan: Plan, layout: Layout, attributes: Attributes) -> Self:
        """Write a store without results: metadata and coordinates. An unfinished one is written anew.

        Raises:
            InputError: if the place cannot be written.
        """
        try:
            place = location(url)
            store = cls(url, zarr.open_group(place, mode="w", zarr_format=3, attributes={"format": UNFINISHED}))
            store.create_variables({**layout.results(), **layout.status_variables()}, layout.sizes)
            store.write_coordinates(plan, layout)
            store.update_attributes({**attributes, **fixed_attributes(plan)})
        except OSError as error:
            raise cannot_write(url, error) from None
        except ImportError as error:
            raise _needs_package(url, error) from None
        return store.writable(layout)

    def writable(self, layout: Layout) -> Self:
        """The same store, opened to write ``layout`` into it, in batches of the size that it already has."""
        store = self.open(self.url, "r+")
        store.layout = replace(layout, batch=object_shape(store.array("free_energy"))[0])
        return store

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads(str(self.attributes["config"]))

    @cached_property
    def layout(self) -> Layout:
        """Sizes, as its arrays have them."""
        times, process = self.read("time"), str(self.config["process"])
        kept = np.arange(len(times) if "field" in self else 0)
        height, width = self.config["grid"]["shape"]
        points, realizations = self.array("status").shape
        return Layout(
            process=process,
            points=points,
            realizations=realizations,
            times=times,
            field_index=np.searchsorted(times, self.read("time_field")) if "time_field" in self else kept,
            shape=(int(height), int(width)),
            extra=self.extra_lengths,
            batch=object_shape(self.array("free_energy"))[0],
            learned="trust" in self,
            estimates=ESTIMATE in self,
        )

    @property
    def extra_lengths(self) -> dict[str, int]:
        """Lengths of the extra axes of quantities, as its arrays have them."""
        return {name: self.array(name).shape[0] for name in extra_axes(str(self.config["process"])) if name in self}

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in storage order."""
        return [name for name in str(self.attributes["coordinates"]).split() if name != "key"]

    def subgroup(self, name: str) -> PointGroup | None:
        """``reference`` or ``verification``; None where there were no spot checks."""
        found = self.group.get(name)
        return PointGroup(self.url, found) if isinstance(found, zarr.Group) else None

    def create_subgroup(self, name: str) -> PointGroup:
        """An empty group, in the place of one that may be there; :meth:`update_attributes` when it is filled."""
        return PointGroup(self.url, self.group.create_group(name, overwrite=True))

    def update_attributes(self, attributes: Attributes) -> None:
        """Set attributes and gather all metadata in the root's file, so that one request opens the store."""
        # One write of the whole metadata: a killed writer leaves all of it or none. Unsealed until all is written.
        self.group.update_attributes({**attributes, SEAL: ""})
        with warnings.catch_warnings():
            # Not yet in the Zarr v3 specification; readers that do not know it ignore it.
            warnings.simplefilter("ignore", ZarrUserWarning)
            zarr.consolidate_metadata(self.group.store)
        metadata = json.loads(read_object(self.group.store, METADATA) or b"{}")
        metadata["attributes"][SEAL] = seal(metadata)
        write_object(self.group.store, METADATA, json.dumps(metadata, indent=2).encode())

    def difference(self, layout: Layout) -> str | None:
        """What stands in the way of writing this layout into the store, in words; None if nothing does."""
        for name, variable in {**layout.results(), **layout.status_variables()}.items():
            if name not in self:
                return f"{name} is not in the store"
            array = self.array(name)
            there = dict(zip(dimension_names(array), array.shape, strict=False))
            here = {d: layout.sizes[d] for d in variable.dims}
            for dim in [*here, *(d for d in there if d not in here)]:
                if there.get(dim) != here.get(dim):
                    return f"{dim} of {name}: {there.get(dim, 'none')} there, {here.get(dim, 'none')} in the file"
        extra = sorted({*self.array_names} & {"field", "grain_id"} - set(layout.results()))
        return f"{', '.join(extra)} in the store, but not asked for in the file" if extra else None


def write_shard(url: str, start: int, shard: Shard, group: str = "") -> None:
    """Write whole objects into a store that is known to be one, without reading anything else of it.

    Raises:
        InputError: if the rows are not whole objects, or the store cannot be written.
    """
    try:
        opened = zarr.open_group(location(url), path=group, mode="r+")
    except OSError as error:
        raise cannot_write(url, error) from None
    PointGroup(url, opened).write_rows(start, shard)


def fixed_attributes(plan: Plan) -> Attributes:
    """Root attributes that say what kind of store this is and what names its points."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "Conventions": "CF-1.11",
        "title": plan.config.name,
        "coordinates": " ".join([*plan.parameters, "key"]),
    }


def seal(metadata: Attributes) -> str:
    """Checksum of a root's metadata, without the checksum itself: crc32c of its content, 8 hexadecimal digits."""
    attributes = {name: value for name, value in metadata.get("attributes", {}).items() if name != SEAL}
    text = json.dumps({**metadata, "attributes": attributes}, sort_keys=True, separators=(",", ":"))
    return f"{google_crc32c.value(text.encode()):08x}"


def remove_partial_objects(url: str) -> None:
    """Delete what killed writers left half written under temporary names; the caller holds the lock."""
    path = local_path(url)
    for partial in path.rglob("*.partial") if path is not None else ():
        partial.unlink(missing_ok=True)


def _open_root(url: str, mode: str) -> zarr.Group | None:
    """The root group, or None where there is nothing. Only Zarr's format 3 is opened: format 2 has a codec that
    unpickles."""
    check_address(url)
    path = local_path(url)
    try:
        gathered = None if mode == "r" else False
        return zarr.open_group(location(url), mode=mode, zarr_format=3, use_consolidated=gathered)  # type: ignore[arg-type]
    except (FileNotFoundError, GroupNotFoundError):
        others = anything_at(url) if is_s3(url) else path is not None and occupied(path, FIRST_PARTIAL)
        if others:
            raise InputError(f"{url}: expected a sweep store, but other things are there") from None
        return None
    except ContainsArrayError:
        raise InputError(f"{url}: expected a sweep store, but found a Zarr array") from None
    except ImportError as error:
        raise _needs_package(url, error) from None
    except PermissionError:
        raise InputError(f"{url}: cannot be opened, permission denied") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{url}: expected a sweep store, but it cannot be read: {error}") from None


def _check_whole(root: zarr.Group, url: str) -> None:
    found = root.attrs.get("format")
    if found == UNFINISHED:
        raise InputError(f"{url}: its creation was interrupted; run the sweep again to create it")
    if found != FORMAT:
        raise InputError(f"{url}: expected a sweep store, but found another Zarr group; choose another path")
    version = root.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"{url}: expected store format {FORMAT_VERSION}, but found {version}")
    missing = [name for name in REQUIRED if name not in root]
    if missing:
        raise InputError(f"{url}: not a whole store, {', '.join(missing)} missing; delete it and run again")


def _needs_package(url: str, error: ImportError) -> InputError:
    return InputError(f"{url}: this kind of URL needs a package that is not installed: {error}")
