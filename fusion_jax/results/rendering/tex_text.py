"""Any text as plain LaTeX, in ASCII."""

from __future__ import annotations

import re
import unicodedata

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": "{`}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "²": "$^2$",
    "⁄": "/",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↔": r"$\leftrightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "∈": r"$\in$",
    "√": r"$\surd$",
    "∇": r"$\nabla$",
    "∂": r"$\partial$",
    "∑": r"$\sum$",
    "⊕": r"$\oplus$",
    "⊗": r"$\otimes$",
    "⊙": r"$\odot$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
    "\u0328": "k",
}
_LOOKS_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))  # LaTeX has no commands for these
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi "
    "psi omega varsigma Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
).split()


LONGEST = 14  # characters of a word that a narrow column holds without a break


def _character(c: str) -> str:
    """A character as plain LaTeX knows it, in ASCII; its number where LaTeX has none."""
    if c in _TEX:
        return _TEX[c]
    if c.isascii() or not c:
        return c if c.isprintable() else " "
    if c.isspace():
        return " "
    if c in _LOOKS_LATIN:
        return _LOOKS_LATIN[c]
    kind, _, letter = unicodedata.name(c, "").rpartition(" LETTER ")
    name = {"LAMDA": "lambda", "FINAL SIGMA": "varsigma"}.get(letter, letter.lower())
    name = name.capitalize() if kind == "GREEK CAPITAL" else name
    if kind in ("GREEK SMALL", "GREEK CAPITAL") and name in _GREEK:
        return f"$\\{name}$"
    base, *marks = unicodedata.normalize("NFD", c)
    if len(marks) == 1 and marks[0] in _ACCENTS and base.isascii() and base.isalpha():
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    plain = unicodedata.normalize("NFKC", c)
    if plain == c:
        return f"[U+{ord(c):04X}]"
    made = "".join(map(_character, plain))
    place = {"<super>": "^", "<sub>": "_"}.get(unicodedata.decomposition(c).partition(" ")[0])
    return f"${place}{{{made}}}$" if place and plain.isalnum() and plain.isascii() else made


def tex(text: str) -> str:
    """Text as plain LaTeX: one line of ASCII in which nothing is a command, nor an argument of what stands before."""
    return _guarded(_made(text))


def breakable(text: str) -> str:
    """As `tex`, and lines may break within long words, such as names and options: after "_.,=/(-:", else anywhere.

    TeX breaks words of letters only, and of those that it knows.
    """
    return _guarded(" ".join(_broken(word) if len(word) > LONGEST else _made(word) for word in text.split()))


def _made(text: str) -> str:
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(map(_character, text)).strip()


def _guarded(made: str) -> str:
    """A line break or a rule before it takes "[...]" for its length, a line break "*" for its star."""
    return f"{{{made[0]}}}{made[1:]}" if made[:1] in ("[", "*") else made


def _broken(word: str) -> str:
    pieces = [part for found in re.findall(r"[^_.,=/(:-]*[_.,=/(:-]*", word) for part in _cut(found)]
    return r"\allowbreak{}".join(map(_made, pieces))


def _cut(piece: str) -> list[str]:
    return [piece[i : i + LONGEST] for i in range(0, len(piece), LONGEST)]
