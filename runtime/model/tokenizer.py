"""Text to token ids and back, also token by token. Chat templates and stop sequences are handled elsewhere."""

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
from mlxbuild.runtime.rendering.messages import Failure, TemplateFault, TokenizerTrial

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
"""Files that transformers can convert to a tokenizer."""
_LONGEST_REASON = 200
_LONGEST_TOKEN = 40
_CHUNK_CHARACTERS = 4096
"""How many characters of a text that is probably too long are encoded at once, as some expressions take quadratic time.
"""
_LIKELY_TOO_LONG = 8
"""Characters for each usable token from which a text is probably too long. Ordinary text has four or five."""
LONG_TEXT = 4096
"""In characters; for longer texts, other threads run while the text is encoded, and waiting for it can be cancelled."""
_OTHER_TOKENIZER = "its expressions try too many ways to split: use another tokenizer, by `tokenizer:` in the recipe"


class TokenizerUnreadable(UserError):
    """The tokenizer of a model folder cannot be opened."""

    code = "tokenizer-unreadable"


class Tokenizer:
    """A `tokenizers.Tokenizer`, used without transformers."""

    def __init__(self, backend: Any, *, is_watched: bool = False) -> None:
        """`is_watched`: whether this process is ended from outside if encoding hangs, as server processes are."""
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._is_bounded = not is_watched and _has_expressions(_splitting(backend))

    @classmethod
    def open(cls, folder: Path, *, is_watched: bool = False) -> Tokenizer:
        """The tokenizer of a model folder: its `tokenizer.json`, or one that transformers converts from another format.

        Raises:
            TokenizerUnreadable: there is none, it is damaged, or transformers has no fast version of it.
        """
        file = folder / TOKENIZER_FILE
        if file.is_file():
            return cls.read(file, is_watched=is_watched)
        backend = _converted(folder)
        _require_plausible(backend, folder)
        return cls(backend, is_watched=is_watched)

    @classmethod
    def read(cls, file: Path, *, is_watched: bool = False) -> Tokenizer:
        """Read a `tokenizer.json`, whatever its name.

        Raises:
            TokenizerUnreadable: it is damaged, has implausible ids, or takes too long to split texts.
            RendererLost: this machine cannot start a process to test it in.
        """
        import tokenizers

        try:
            backend = tokenizers.Tokenizer.from_buffer(file.read_bytes().removeprefix(codecs.BOM_UTF8))
        except BaseException as error:
            if not isinstance(error, Exception) and not _is_panic(error):
                raise
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
        """Token texts with their ids, added ones included."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    def token_id(self, token: str) -> int | None:
        """The id of a token by its exact text, or None."""
        found = self._backend.token_to_id(token)
        return None if found is None else int(found)

    def added_tokens(self) -> dict[int, str]:
        """Tokens that are never split, such as control tokens and markers, by id."""
        return {number: token.content for number, token in self._backend.get_added_tokens_decoder().items()}

    def control_tokens(self) -> frozenset[int]:
        """Added tokens that the tokenizer calls special: they control the model, and are not text."""
        added = self._backend.get_added_tokens_decoder().items()
        return frozenset(number for number, token in added if token.special)

    def encode(self, text: str, *, add_special_tokens: bool = False, most: int | None = None) -> list[int]:
        """Token ids of a text, with special tokens if the tokenizer's post-processor is to add them.

        `most` is how many tokens the caller can use. The end of a text with more than twice as many may be omitted; the
        result then still has more than `most`. So a text that is far too long takes little time and memory.

        Raises:
            TokenizerUnreadable: it cannot split this text, or takes too long for it.
        """
        end = None if most is None else self._end_beyond(text, most)
        tokens = self._encode(text[:end], add_special_tokens)
        if most is None or end is None or len(tokens) > most:
            return tokens
        return self._encode(text, add_special_tokens)

    def _end_beyond(self, text: str, most: int) -> int | None:
        """Where a text first exceeds twice as many tokens as `most`, if it does.

        Chunks are encoded separately. A cut changes the tokens near it, hence the factor of two.
        """
        if len(text) <= _LIKELY_TOO_LONG * most:
            return None
        counted = 0
        for end in range(_CHUNK_CHARACTERS, len(text), _CHUNK_CHARACTERS):
            counted += len(self._encode(text[end - _CHUNK_CHARACTERS : end], add_special_tokens=False))
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
            if type(error) is not Exception and not _is_panic(error):  # the library raises bare ones
                raise
            raise TokenizerUnreadable(
                f"{TOKENIZER_FILE} cannot split a text of {len(text):,} characters: {_told(error)}",
                hint=_OTHER_TOKENIZER,
            ) from None

    def _encoding(self, text: str, add_special_tokens: bool) -> Any:
        encode = self._backend.encode
        if self._is_bounded or len(text) >= LONG_TEXT:
            encode = functools.partial(encode_in_time, self._backend)
        return encode(text, add_special_tokens=add_special_tokens)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids. Bytes that are not valid UTF-8 become U+FFFD."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens))

    def piece(self, token: int) -> tuple[str, bytes]:
        """The text and the bytes of a single token; bytes that are not valid UTF-8 become U+FFFD in the text."""
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
        """The decoder in the tokenizer's own description."""
        decoder = self._backend.decoder
        return "" if decoder is None else decoder.__getstate__().decode()

    def detokenizer(self) -> Detokenizer:
        """A new incremental detokenizer."""
        return Detokenizer(self.decode)


class Detokenizer:
    """Decodes a growing sequence of tokens incrementally, without ever returning part of a character.

    The returned texts together equal the text of all tokens decoded at once. Each call decodes the tokens since the
    last piece but one, as decoders may look back (for a leading space, or the bytes of one character).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._told_tokens = 0
        self._told_text = ""

    def add(self, token: int) -> str:
        """The text that this token completes; empty while bytes of a character are missing."""
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
        """The text that was held back, with U+FFFD for incomplete characters."""
        piece = self._decode(self._tokens)[len(self._told_text) :]
        self._tokens, self._told_tokens, self._told_text = [], 0, ""
        return piece


@functools.cache
def _byte_of_letter() -> dict[str, int]:
    """Bytes in byte-level vocabularies: printable Latin-1 as itself, others from U+0100 on (as in GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _require_plausible(backend: Any, place: Path) -> None:
    """Reject ids beyond any embedding, as lists and masks are as long as the highest id."""
    text, highest = max(backend.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1], default=("", 0))
    if highest >= MOST_TOKENS:
        raise TokenizerUnreadable(
            f"the token `{text[:_LONGEST_TOKEN]}` has the id {highest:,}, and no model has {MOST_TOKENS:,} tokens",
            where=str(place),
            hint="get the tokenizer again from the model's publisher",
        )


def _splitting(backend: Any) -> str:
    """What splits texts before the vocabulary is applied, as JSON."""
    parts = {"normalizer": backend.normalizer, "pre_tokenizer": backend.pre_tokenizer}
    return json.dumps({name: None if part is None else json.loads(part.__getstate__()) for name, part in parts.items()})


def _has_expressions(splitting: str) -> bool:
    return '"Regex"' in splitting


def _require_quick(backend: Any, file: Path) -> None:
    """Test the tokenizer's own regular expressions in a process that can be ended."""
    splitting = _splitting(backend)
    if not _has_expressions(splitting):
        return
    try:
        _try(splitting)
    except Failure as failure:
        reason = (
            "takes too long to split texts"
            if failure.fault is TemplateFault.COSTLY
            else f"cannot split: {failure.message}"
        )
        raise TokenizerUnreadable(f"{TOKENIZER_FILE} {reason}", where=str(file), hint=_OTHER_TOKENIZER) from None


@functools.lru_cache(8)
def _try(splitting: str) -> None:
    standing.ask(TokenizerTrial(splitting, Limits()))


def _converted(folder: Path) -> Any:
    """Convert other formats (SentencePiece, tiktoken, vocab.json with merges.txt) with transformers."""
    try:
        from transformers import AutoTokenizer

        backend = AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # noqa: BLE001 - each family fails in its own way
        given = next((name for name in _OTHER_FORMS if (folder / name).is_file()), None)
        if given is None:
            raise TokenizerUnreadable(
                f"the model has no {TOKENIZER_FILE}, and no files that could be converted to one",
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


def _is_panic(error: BaseException) -> bool:
    """Whether it is a panic of the library's Rust code, which is no `Exception`."""
    return type(error).__name__ == "PanicException"


def _told(error: BaseException) -> str:
    """A library's message on one line, without the bytes that it could not read."""
    reason = re.sub(r" ?b(['\"]).*\1", "", " ".join(str(error).split()))
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
