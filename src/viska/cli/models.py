"""`viska models`: which models there are and which are in the cache; fetch, remove and convert them.

Data goes to stdout, everything else to stderr.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from viska.cli.show import complain
from viska.errors import UnknownModelError, ViskaError
from viska.weights import cache
from viska.weights.convert import STORED, convert_model
from viska.weights.hub import parse_hub_id
from viska.weights.load import locate
from viska.weights.registry import available_models, find_official


def models_parser() -> argparse.ArgumentParser:
    """The parser of `viska models`, with its own commands."""
    parser = argparse.ArgumentParser(prog="viska models", description=__doc__)
    _add_common(parser, default=None)
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    actions = parser.add_subparsers(dest="models_action", metavar="ACTION")
    fetch = actions.add_parser("fetch", help="put models into the cache and print their folders")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="an official name, or owner/name of the hub")
    remove = actions.add_parser("rm", help="delete models from the cache")
    remove.add_argument("names", nargs="+", metavar="NAME", help="as for fetch")
    convert = actions.add_parser("convert", help="write a model as a folder with model.safetensors")
    convert.add_argument("source", metavar="SRC", help="a name, a .pt file or a model's folder")
    convert.add_argument("target", metavar="DST", help="a folder that does not exist yet")
    convert.add_argument(
        *("--compute_type", "--dtype"),
        dest="dtype",
        choices=STORED,
        help="int8: a quarter of the size, for Viska alone (default: that of the source)",
    )
    for action in (fetch, remove, convert):
        # SUPPRESS, so that the option counts before and after the action's name alike.
        _add_common(action, default=argparse.SUPPRESS)
    return parser


def _add_common(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument(
        "--model_dir",
        default=default,
        metavar="DIR",
        help="folder of fetched models (default: $VISKA_CACHE/models, else ~/.cache/viska/models)",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        default=argparse.SUPPRESS if default is argparse.SUPPRESS else False,
        help="fetch nothing and open no connection",
    )


def run_models(args: argparse.Namespace) -> int:
    """Run what `models_parser` has parsed; returns the exit status."""
    actions: dict[str | None, Callable[[argparse.Namespace], int]] = {
        None: _list,
        "fetch": lambda args: _for_each(args, _fetch),
        "rm": lambda args: _for_each(args, _remove),
        "convert": _convert,
    }
    return actions[args.models_action](args)


def _for_each(args: argparse.Namespace, action: Callable[[str, argparse.Namespace], None]) -> int:
    """Do all names even when one fails; the status is that of the first failure."""
    status = 0
    for name in args.names:
        try:
            action(name, args)
        except ViskaError as error:
            failed = complain(error)
            status = status or failed
    return status


def _fetch(name: str, args: argparse.Namespace) -> None:
    if find_official(name) is None and parse_hub_id(name) is None:
        raise UnknownModelError(
            f"{name!r} is neither an official name ({', '.join(available_models())}) nor owner/name"
        )
    print(f"fetching {name}", file=sys.stderr)
    print(locate(name, args.model_dir, offline=args.offline or None).path)


def _remove(name: str, args: argparse.Namespace) -> None:
    root = cache.models_folder(args.model_dir)
    if not cache.remove_cached(root, _key(name)):
        raise UnknownModelError(f"{name} is not in {root}; 'viska models' lists what is there")
    print(f"removed {name}", file=sys.stderr)


def _key(name: str) -> str:
    if (official := find_official(name)) is not None:
        return cache.official_key(official)
    if (hub := parse_hub_id(name)) is not None:
        return cache.hub_key(hub)
    raise UnknownModelError(f"{name!r} is neither an official name nor owner/name")


def _convert(args: argparse.Namespace) -> int:
    offline = args.offline or None
    print(
        convert_model(args.source, Path(args.target), dtype=args.dtype, download_root=args.model_dir, offline=offline)
    )
    return 0


def _list(args: argparse.Namespace) -> int:
    rows = _rows(cache.models_folder(args.model_dir))
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        size = row["cached"]["bytes"] if row["cached"] else row["bytes"]
        where = row["cached"]["folder"] if row["cached"] else "-"
        print(f"{row['name']:<{width}}  {size / 1e6:>7.0f} MB  {where}")
    return 0


def _rows(root: Path) -> list[dict[str, Any]]:
    """One dict a model: the official ones first, then what else is in the cache."""
    cached = cache.list_cached(root)
    rows: list[dict[str, Any]] = []
    for name in available_models():
        model = find_official(name)
        assert model is not None  # every listed name is in the table
        found = cached.get(cache.official_key(model))
        rows.append({"name": name, "bytes": model.size, "cached": cache.describe_files(found) if found else None})
    official = {cache.official_key(model) for name in available_models() if (model := find_official(name))}
    for key in sorted(cached.keys() - official):
        found = cached[key]
        rows.append({"name": cache.name_of(key), "bytes": found.size, "cached": cache.describe_files(found)})
    return rows
