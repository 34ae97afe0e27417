"""Could CUDA 13's libraries stand in for CUDA 12's, which TensorFlow's GPU wheel looks for?

    python scripts/airgap/check_symbols.py TENSORFLOW LIBRARY [LIBRARY ...] [--json FILE]

TENSORFLOW is its wheel, or the folder in which it is installed; a LIBRARY is a wheel such as that
of nvidia-cublas, a folder, or a shared object. Needs no GPU, and runs nothing of them.

TensorFlow links to none of these libraries. It has a stub for each function, which looks for the
name (dlsym) when it is called first; a name that is missing is an error at that call. So there are
three numbers: functions with a stub, those of them that a library does not have, and those of
these that TensorFlow's code refers to. Links from old names to new ones serve if the last is none.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import struct
import sys
import zipfile

import numpy as np

# Functions of each library, longest prefix first. A stub is a function of the same name.
FAMILIES = ("cublasLt", "cublas", "cudnn", "cufft", "cusolver", "cusparse", "nccl")
_NAME = re.compile(rb"(cublasLt|cublas|cudnn|cufft|cusolver|cusparse|nccl)[A-Z]\w*")
_SECTION = struct.Struct("<IIQQQQIIQQ")  # sh_name, type, flags, addr, offset, size, link, ...
_SYMBOL = np.dtype("<u4, u1, u1, <u2, <u8, <u8")  # st_name, info, other, shndx, value, size
_RELOCATION = np.dtype("<u8, <u8, <i8")  # r_offset, info, addend
SYMTAB, RELA, DYNSYM, FUNCTION = 2, 4, 11, 2


class SharedObject:
    """What has to be known of an ELF file.

    Args:
      data: its bytes, or something that is sliced to bytes, such as numpy.memmap.

    Raises:
      ValueError: it is none of 64 bits and little endian.
    """

    def __init__(self, data):
        self.data = data
        head = bytes(data[:64])
        if head[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not an ELF file of 64 bits, little endian")
        (start,), (count,) = struct.unpack("<Q", head[40:48]), struct.unpack("<H", head[60:62])
        table = bytes(data[start : start + count * _SECTION.size])
        self.sections = list(_SECTION.iter_unpack(table))

    def functions(self, tables=(SYMTAB, DYNSYM)) -> dict[str, int]:
        """{name: address} of the libraries' functions that are defined here; DYNSYM: exported."""
        found = {}
        for section in self.sections:
            if section[1] in tables:
                table, strings = (
                    self._array(_SYMBOL, section[4], section[5]),
                    self._strings(section),
                )
                is_function = (table["f1"] & 15 == FUNCTION) & (table["f3"] != 0)
                for row in table[is_function]:
                    match = _NAME.match(strings, row["f0"])
                    if match and strings[match.end()] == 0:
                        found[match.group().decode()] = int(row["f4"])
        return found

    def imports(self) -> set[str]:
        """Names of functions that are reached through a table of this file: others', or its own."""
        found = set()
        for _, kind, _, _, offset, size, link, *_ in self.sections:
            if kind != RELA:
                continue
            numbers = np.unique(self._array(_RELOCATION, offset, size)["f1"] >> 32)
            if self.sections[link][1] == DYNSYM:
                found |= self._names(self.sections[link], numbers)
        return found

    def called(self, functions: dict[str, int]) -> set[str]:
        """Which functions the code of this file calls, jumps to, or takes the address of."""
        names = {address: name for name, address in functions.items()}
        if not names:
            return set()
        low, high, found = min(names), max(names), set()
        for _, _, flags, address, offset, size, *_ in self.sections:
            if flags & 4:  # executable
                code = self._array(np.uint8, offset, size)
                found |= {names[target] for target in _targets(code, address, low, high, names)}
        return found

    def _names(self, section, numbers):
        """Those symbols of a table that are functions of the libraries."""
        table, strings = self._array(_SYMBOL, section[4], section[5]), self._strings(section)
        matches = (_NAME.match(strings, start) for start in table["f0"][numbers])
        return {match.group().decode() for match in matches if match}

    def _strings(self, section):
        _, _, _, _, offset, size, *_ = self.sections[section[6]]
        return bytes(self.data[offset : offset + size])

    def _array(self, dtype, offset, size):
        count = size // np.dtype(dtype).itemsize
        return np.frombuffer(self.data, dtype, count=count, offset=offset)


def _targets(code, address, low, high, names, step=1 << 24):
    """Addresses out of ``names`` to which x86-64 code refers."""
    found = set()
    for start in range(0, len(code) - 8, step):
        part = code[start : start + step + 8]
        words = [part[i : len(part) - 8 + i].astype(np.int64) for i in range(1, 5)]
        offsets = (words[0] | words[1] << 8 | words[2] << 16 | words[3] << 24).astype(np.int32)
        here = address + start + np.arange(len(offsets))
        to = here + 5 + offsets  # a call is its opcode and four bytes
        near = np.flatnonzero((to >= low) & (to <= high))
        opcode = part[near]  # the byte before the offset: e8 of a call, e9 of a jmp, 05 to 3d of
        is_lea = (part[near - 1] == 0x8D) & (opcode & 0xC7 == 5)  # lea, relative to what comes next
        is_code = (opcode == 0xE8) | (opcode == 0xE9) | is_lea
        found |= set(to[near[is_code]].tolist()) & set(names)
    return found


def open_all(path: pathlib.Path, is_wanted):
    """Yield (name, SharedObject) of a wheel, a folder, or a file."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for name in filter(is_wanted, wheel.namelist()):
                yield name, SharedObject(wheel.read(name))
        return
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*.so*") if p.is_file())
    for file in files:
        if is_wanted(str(file)) and file.stat().st_size > 64:
            yield str(file), SharedObject(np.memmap(file, np.uint8, "r"))


def family(name: str) -> str:
    """'cublasLtMatmul' => 'cublasLt'."""
    return next(known for known in FAMILIES if name.startswith(known))


def read_stubs(tensorflow: pathlib.Path) -> tuple[set[str], set[str]]:
    """Names of the functions that TensorFlow has stubs of, and of those that it refers to."""
    stubs, used = set(), set()
    for _, shared in open_all(tensorflow, lambda name: ".so" in name):
        functions = shared.functions()
        stubs |= set(functions)
        used |= shared.imports() | shared.called(functions)
    return stubs, used & stubs


def read_exports(libraries: list[pathlib.Path]) -> dict[str, set[str]]:
    """{library: names of functions that it exports}, of those that are there."""
    exports = {}
    for path in libraries:
        for name, shared in open_all(path, lambda name: ".so" in name):
            library = pathlib.PurePath(name).name.partition(".")[0][len("lib") :]
            if library in FAMILIES:
                exports[library] = set(shared.functions([DYNSYM]))
    return exports


def compare(stubs: set[str], used: set[str], exports: dict[str, set[str]]) -> dict[str, dict]:
    """{library: its names}, of libraries that were given.

    Args:
      stubs: functions that TensorFlow looks for.
      used: those that it refers to.
      exports: {library: functions that it has}.
    """
    report = {}
    for library in filter(exports.get, FAMILIES):
        wanted = {name for name in stubs if family(name) == library}
        missing = wanted - exports[library]
        names = dict(stubs=wanted, used=wanted & used, missing=missing)
        names["missing_and_used"] = missing & used
        report[library] = {key: sorted(value) for key, value in names.items()}
    return report


def table(report: dict[str, dict]) -> list[str]:
    """Lines of a table."""
    lines = ["| library | stubs | TensorFlow refers to | missing | missing and referred to |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for library, found in report.items():
        names = ", ".join(found["missing_and_used"]) or "none"
        numbers = " | ".join(str(len(found[key])) for key in ("stubs", "used", "missing"))
        lines.append(f"| {library} | {numbers} | {names} |")
    return lines


def main(argv=None) -> int:
    """Print a table; 0 if nothing is missing that TensorFlow refers to, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tensorflow", type=pathlib.Path, help="wheel or folder of TensorFlow")
    parser.add_argument("library", type=pathlib.Path, nargs="+", help="wheel, folder or file")
    parser.add_argument("--json", type=pathlib.Path, help="write the names there, too")
    args = parser.parse_args(argv)
    exports = read_exports(args.library)
    if not exports:
        parser.error(
            f"none of {', '.join(f'lib{name}.so' for name in FAMILIES)} is in {args.library}"
        )
    stubs, used = read_stubs(args.tensorflow)
    if not stubs:
        parser.error(f"{args.tensorflow} has no stubs: is it the GPU build of TensorFlow?")
    report = compare(stubs, used, exports)
    print("\n".join(table(report)))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(any(found["missing_and_used"] for found in report.values()))


if __name__ == "__main__":
    sys.exit(main())
