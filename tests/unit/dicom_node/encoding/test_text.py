"""Names in every character set of PS3.3 C.12.1.1.2, by themselves and with code extensions; search by any group."""

from __future__ import annotations

import pytest

from dicom_node.encoding.text import character_encodings, decode_text
from dicom_node.services.identifiers import Key, is_match

ESC = b"\x1b"


@pytest.mark.parametrize(
    ("character_set", "raw", "name"),
    [
        ("", b"Doe^John", "Doe^John"),
        ("ISO_IR 6", b"Doe^John", "Doe^John"),
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ("ISO_IR 101", b"W\xb3ach^\xa3", "Włach^Ł"),
        ("ISO_IR 109", b"\xe6", "ĉ"),
        ("ISO_IR 110", b"\xe6\xe0", "æā"),
        ("ISO_IR 144", b"\xbb\xee\xda\xde", "Люко"),
        ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
        ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
        ("ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
        ("ISO_IR 148", b"\xc7avu\xfeo\xf0lu", "Çavuşoğlu"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 166", b"\xca\xc1\xaa\xd2\xc2", "สมชาย"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
        ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
        ("GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
        ("\\GB18030", b"Wang=\xcd\xf5", "Wang=王"),
        ("\\ISO_IR 192", "Wang=王".encode(), "Wang=王"),
        ("\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东="),
        ("ISO 2022 IR 6\\ISO 2022 IR 58", b"Wang=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1", "Wang=王^小"),
        ("ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1", "Zhang=张^小"),
        ("ISO_IR 58", b"\xd5\xc5^\xd0\xa1", "张^小"),
        ("\\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5^\xd0\xa1", "Zhang=张^小"),
        ("\\ISO 2022 IR 58", b"Zhang=\xd5\xc5^\xd0\xa1", "Zhang=张^小"),
        ("ISO_IR 100", b"Zhang=\x1b$)A\xd5\xc5", "Zhang=张"),
        ("\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"),
        ("ISO 2022 IR 149", b"Hong=\x1b$)C\xfb\xf3", "Hong=洪"),
        ("\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada=山田^太郎"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J", "ﾔﾏﾀﾞ=山田^太郎"),
        ("\\ISO 2022 IR 159", b"A=\x1b$(D\x30\x21\x1b(B", "A=丂"),
        ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\xe9=\x1b-L\xbb\xee\xda", "é=Люк"),
        ("\\ISO 2022 IR 126", b"A=\x1b-F\xc4\xe9", "A=Δι"),
        ("\\ISO 2022 IR 13", b"A=\x1b)I\xd4\xcf", "A=ﾔﾏ"),
    ],
)
def test_names_are_read_in_every_character_set(character_set: str, raw: bytes, name: str) -> None:
    text = decode_text(raw, character_encodings(character_set.encode()), is_name=True)
    assert text == name
    assert "\N{REPLACEMENT CHARACTER}" not in text


NAME = "Wang^XiaoDong=王^小东=わん^しゃお"


@pytest.mark.parametrize(
    ("requested", "is_found"),
    [
        ("Wang^XiaoDong", True),
        ("wang^xiaodong", True),
        ("王^小东", True),
        ("王*", True),
        ("*小?", True),
        ("?^小东", True),
        ("わん*", True),
        ("=王*", True),
        ("Wang*=王*", True),
        (NAME, True),
        ("Wang*=李*", False),
        ("李*", False),
        ("小东", False),
        ("Wang", False),
        ("王^小东^^", True),
    ],
)
def test_a_name_is_found_by_any_of_its_groups(requested: str, is_found: bool) -> None:
    assert is_match(Key("PatientName", "PN", (requested,)), [NAME]) is is_found
    assert is_match(Key("PatientName", "PN", (requested,)), [NAME + "="]) is is_found
