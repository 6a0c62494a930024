"""Figures of the machine code, without noise: counts in the output of `Kernel.inspect()` (x86-64)."""

import functools
import re

from fastbp.core.ir.kernel import Kernel

LETTERS = {4: "s", 8: "d"}  # bytes of a number: the letter of its instructions
ARITHMETIC = r"(fn?m(?:add|sub)\d+|mul|add|sub|div|sqrt|max|min)"
BLOCK = re.compile(r"^\.LBB\w+:.*$", re.MULTILINE)


@functools.cache
def blocks(kernel: Kernel) -> list[list[tuple[str, str]]]:
    """(mnemonic, operands) of the kernel's basic blocks, without data and without Numba's wrapper."""
    _, text = kernel.inspect()
    functions = re.findall(r"^(\S+):[^\n]*\n(.*?)^\.Lfunc_end", text, flags=re.MULTILINE | re.DOTALL)
    body = "\n".join(code for name, code in functions if "cfunc" not in name)
    return [instructions(block) for block in BLOCK.split(body)]


def instructions(block: str) -> list[tuple[str, str]]:
    lines = (line.split("#")[0].strip() for line in block.splitlines())
    code = [line.split(None, 1) for line in lines if line and not line.startswith((".", '"')) and line[-1] != ":"]
    return [(parts[0], parts[1] if len(parts) > 1 else "") for parts in code]


def count(kernel: Kernel, kind: str, size: int) -> int:
    """Floating-point instructions on vectors (kind "p") or on single numbers (kind "s")."""
    pattern = re.compile(rf"v?{ARITHMETIC}{kind}{LETTERS[size]}$")
    return sum(bool(pattern.match(mnemonic)) for block in blocks(kernel) for mnemonic, _ in block)


def calls_by_name(kernel: Kernel) -> set[str]:
    """Functions of libm, the C library or the runtime; kernels are called by address, not by name."""
    named = (
        re.match(r"(?:call\w* ([^*]\S*)|movabs\w* \$([A-Za-z_]\w*))", f"{mnemonic} {operands}")
        for block in blocks(kernel)
        for mnemonic, operands in block
    )
    return {(match[1] or match[2]) for match in named if match and "_ZN6fastbp" not in match[0]}


def per_multiply_add(kernel: Kernel, size: int) -> float:
    """Instructions for each multiply-add in the block with most of them: the inner loop of the tallest tile."""
    pattern = re.compile(rf"v?f?m(add\d+|ul)p{LETTERS[size]}$")
    counts = [(sum(bool(pattern.match(mnemonic)) for mnemonic, _ in block), len(block)) for block in blocks(kernel)]
    products, length = max(counts)
    return round(length / products, 3)
