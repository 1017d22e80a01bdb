"""Text to token ids and back, one token at a time too. Chat templates and stops live elsewhere."""

from __future__ import annotations

import codecs
import functools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.files import TOKENIZER_FILE
from mlxbuild.runtime.model.plausibility import MOST_TOKENS
from mlxbuild.runtime.model.splitting import TakesTooLong, encode_in_time
from mlxbuild.runtime.rendering import standing
from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import Failure, Fault, Trial

_REPLACEMENT = "\ufffd"
_LONGEST_HOLD = 64
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"
_OTHER_FORMS = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tiktoken.model",
    "tokenizer.tiktoken",
    "vocab.json",
    "vocab.txt",
)
"""What transformers makes tokenizers of."""
_LONGEST_REASON = 200
_LONGEST_TOKEN = 40
_PORTION = 4096
"""Characters that are counted at once of a text that is likely too long: some expressions take the square of a text."""
_LIKELY_TOO_LONG = 8
"""Characters for each token that can be used. What people write has four or five."""
_LONG_TEXT = 16 * 1024
"""In characters; from here on other threads run while a text is split."""
_OTHER_TOKENIZER = "its expressions try too many ways to split: use another tokenizer, by `tokenizer:` in the recipe"


class TokenizerUnreadable(UserError):
    """The tokenizer of a model folder cannot be opened."""

    code = "tokenizer-unreadable"


class Tokenizer:
    """A `tokenizers.Tokenizer`, without transformers around it."""

    def __init__(self, backend: Any, *, is_watched: bool = False) -> None:
        """`is_watched`: whether this process is ended from outside if a text takes for ever, as the server's are."""
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._is_bounded = not is_watched and _has_expressions(_splitting(backend))

    @classmethod
    def open(cls, folder: Path, *, is_watched: bool = False) -> Tokenizer:
        """The tokenizer of a model folder: its `tokenizer.json`, or what transformers converts from other forms.

        Raises:
            TokenizerUnreadable: there is none, it is damaged, or transformers has no fast form of it.
        """
        file = folder / TOKENIZER_FILE
        if file.is_file():
            return cls.read(file, is_watched=is_watched)
        backend = _converted(folder)
        _require_plausible(backend, folder)
        return cls(backend, is_watched=is_watched)

    @classmethod
    def read(cls, file: Path, *, is_watched: bool = False) -> Tokenizer:
        """Read one `tokenizer.json`, whatever its name.

        Raises:
            TokenizerUnreadable: it is damaged, has implausible ids, or takes too long to split texts.
            RendererLost: this machine has no process to try it in.
        """
        import tokenizers

        try:
            backend = tokenizers.Tokenizer.from_buffer(file.read_bytes().removeprefix(codecs.BOM_UTF8))
        except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
            raise TokenizerUnreadable(
                f"{TOKENIZER_FILE} cannot be read: {_told(error)}",
                where=str(file),
                hint="get it again from the model's publisher",
            ) from None
        _require_plausible(backend, file)
        _require_quick(backend, file)
        return cls(backend, is_watched=is_watched)

    @property
    def vocabulary_size(self) -> int:
        """How many tokens there are, added ones included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def vocabulary(self) -> dict[str, int]:
        """Token text to id, added ones included."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    def token_id(self, token: str) -> int | None:
        """The id of a token by its exact text, or None."""
        found = self._backend.token_to_id(token)
        return None if found is None else int(found)

    def added_tokens(self) -> dict[int, str]:
        """The tokens that are never split: control tokens and markers, by id."""
        return {number: token.content for number, token in self._backend.get_added_tokens_decoder().items()}

    def control_tokens(self) -> frozenset[int]:
        """Those of the added tokens that the tokenizer calls special: no text, but control of the model."""
        added = self._backend.get_added_tokens_decoder().items()
        return frozenset(number for number, token in added if token.special)

    def encode(self, text: str, *, add_special_tokens: bool = False, most: int | None = None) -> list[int]:
        """Token ids of a text; with special tokens as the tokenizer's own post-processing adds them.

        `most` is how many the caller can use. Of a text with more than twice as many, the end may be left out; what
        comes back is then still more than `most`. So a text that is far too long takes little time and memory.

        Raises:
            TokenizerUnreadable: it cannot split this text, or takes too long for it.
        """
        end = None if most is None else self._end_beyond(text, most)
        tokens = self._encode(text[:end], add_special_tokens)
        if most is None or end is None or len(tokens) > most:
            return tokens
        return self._encode(text, add_special_tokens)

    def _end_beyond(self, text: str, most: int) -> int | None:
        """Where a text first has more than twice as many tokens as `most`, if it does.

        Portions are counted alone. A cut changes the tokens near it, which is why twice as many are asked for.
        """
        if len(text) <= _LIKELY_TOO_LONG * most:
            return None
        counted = 0
        for end in range(_PORTION, len(text), _PORTION):
            counted += len(self._encode(text[end - _PORTION : end], add_special_tokens=False))
            if counted > 2 * most:
                return end
        return None

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        try:
            return list(self._encoding(text, add_special_tokens).ids)
        except TakesTooLong:
            raise TokenizerUnreadable(
                f"{TOKENIZER_FILE} takes too long to split a text of {len(text):,} characters", hint=_OTHER_TOKENIZER
            ) from None
        except BaseException as error:
            # What the library raises is a bare Exception, or a panic of Rust, which is none.
            if type(error) is not Exception and type(error).__name__ != "PanicException":
                raise
            raise TokenizerUnreadable(
                f"{TOKENIZER_FILE} cannot split a text of {len(text):,} characters: {_told(error)}",
                hint=_OTHER_TOKENIZER,
            ) from None

    def _encoding(self, text: str, add_special_tokens: bool) -> Any:
        encode = self._backend.encode
        if self._is_bounded or len(text) >= _LONG_TEXT:
            encode = functools.partial(encode_in_time, self._backend)
        return encode(text, add_special_tokens=add_special_tokens)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids. Bytes that are no UTF-8 become U+FFFD."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens))

    def piece(self, token: int) -> tuple[str, bytes]:
        """The text and the bytes that a token alone stands for; bytes that are no UTF-8 become U+FFFD in the text."""
        data = self._bytes_of(token)
        return data.decode("utf-8", errors="replace"), data

    def _bytes_of(self, token: int) -> bytes:
        written = self._backend.id_to_token(token)
        if written is None:
            return b""  # output heads often have more rows than there are tokens
        if token in self._added_tokens:
            return str(written).encode()
        if "ByteLevel" in self._decoder and all(letter in _byte_of_letter() for letter in written):
            return bytes(_byte_of_letter()[letter] for letter in written)
        if "ByteFallback" in self._decoder and (byte := _BYTE.fullmatch(written)):
            return bytes.fromhex(byte[1])
        return (written.replace(_SPACE, " ") if _SPACE in self._decoder else self.decode([token])).encode()

    @functools.cached_property
    def _added_tokens(self) -> frozenset[int]:
        return frozenset(self.added_tokens())

    @functools.cached_property
    def _decoder(self) -> str:
        """The tokenizer's own description of how it decodes."""
        decoder = self._backend.decoder
        return "" if decoder is None else decoder.__getstate__().decode()

    def detokenizer(self) -> Detokenizer:
        """A fresh stream of tokens to text."""
        return Detokenizer(self.decode)


class Detokenizer:
    """Turns a growing row of tokens into growing text, without ever giving out half a character.

    All texts together are the text of all tokens decoded at once. Each step decodes only what came since the last
    but one piece, as decoders may look back (a leading space, bytes of one character).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._told_tokens = 0
        self._told_text = ""

    def add(self, token: int) -> str:
        """The text that this token completes; empty while a character lacks bytes."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        held = len(self._tokens) - self._told_tokens
        if text.endswith(_REPLACEMENT) and held < _LONGEST_HOLD:
            return ""
        piece = text[len(self._told_text) :]
        if piece:
            del self._tokens[: self._told_tokens]
            self._told_tokens = len(self._tokens)
            self._told_text = self._decode(self._tokens)
        return piece

    def finish(self) -> str:
        """What was held back; bytes that never became a character as U+FFFD."""
        piece = self._decode(self._tokens)[len(self._told_text) :]
        self._tokens, self._told_tokens, self._told_text = [], 0, ""
        return piece


@functools.cache
def _byte_of_letter() -> dict[str, int]:
    """How byte-level vocabularies write bytes: printable Latin-1 as itself, others from U+0100 on (as GPT-2 did)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _require_plausible(backend: Any, place: Path) -> None:
    """Refuse ids that no embedding has a row for: lists and masks are as long as the highest id."""
    text, highest = max(backend.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1], default=("", 0))
    if highest >= MOST_TOKENS:
        raise TokenizerUnreadable(
            f"the token `{text[:_LONGEST_TOKEN]}` has the id {highest:,}, and no model has {MOST_TOKENS:,} tokens",
            where=str(place),
            hint="get the tokenizer again from the model's publisher",
        )


def _splitting(backend: Any) -> str:
    """What splits texts before the vocabulary does, as JSON."""
    parts = {"normalizer": backend.normalizer, "pre_tokenizer": backend.pre_tokenizer}
    return json.dumps({name: None if part is None else json.loads(part.__getstate__()) for name, part in parts.items()})


def _has_expressions(splitting: str) -> bool:
    return '"Regex"' in splitting


def _require_quick(backend: Any, file: Path) -> None:
    """Try out, where it can be ended, what splits texts by expressions of the tokenizer's own."""
    splitting = _splitting(backend)
    if not _has_expressions(splitting):
        return
    try:
        _try(splitting)
    except Failure as failure:
        reason = (
            "takes too long to split texts" if failure.fault is Fault.COSTLY else f"cannot split: {failure.message}"
        )
        raise TokenizerUnreadable(f"{TOKENIZER_FILE} {reason}", where=str(file), hint=_OTHER_TOKENIZER) from None


@functools.lru_cache(8)
def _try(splitting: str) -> None:
    standing.ask(Trial(splitting, Limits()))


def _converted(folder: Path) -> Any:
    """Other forms (SentencePiece, tiktoken, vocab.json with merges.txt) through transformers."""
    try:
        from transformers import AutoTokenizer

        backend = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # noqa: BLE001 - each family fails in its own way
        given = next((name for name in _OTHER_FORMS if (folder / name).is_file()), None)
        if given is None:
            raise TokenizerUnreadable(
                f"the model has no {TOKENIZER_FILE}, and nothing that one could be made of",
                where=str(folder),
                hint=f"add the model's {TOKENIZER_FILE}, or name where the tokenizer is: tokenizer: {{hf_repo: ...}}",
            ) from None
        raise TokenizerUnreadable(
            f"{given} cannot be made into a tokenizer: {_told(error)}",
            where=str(folder / given),
            hint=f"get it again from the model's publisher, or convert it once with transformers and add its "
            f"{TOKENIZER_FILE} to the source",
        ) from None
    return backend


def _told(error: BaseException) -> str:
    """What a library says, on one line, without the bytes that it stumbled over."""
    reason = re.sub(r" ?b(['\"]).*\1", "", " ".join(str(error).split()))
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
