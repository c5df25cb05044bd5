"""Words <-> ids."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from sat_tf.errors import UserError
from sat_tf.vocabulary import (
    END,
    FUNCTION_WORDS,
    PAD,
    UNK,
    Vocabulary,
    is_unsegmented,
    tokenize,
    word_class,
)

CAPTIONS = [text.split() for text in ("a dog runs", "a dog", "a cat sleeps")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog, running!", ["a", "dog", "running"]),
        ("  The   dog's ball . ", ["the", "dog", "'s", "ball"]),
        ("two-wheeled bike - red", ["two-wheeled", "bike", "red"]),
        ("it isn't, they're \u2019here\u2019", ["it", "is", "n't", "they", "'re", "here"]),
        ('3 men (old) "wait"; 7:30.', ["3", "men", "old", "wait", "7:30"]),
        ("1,000 of 3.5 m, red/blue / w/ 1/2", ["1,000", "of", "3.5", "m", "red/blue", "w", "1/2"]),
        ("dog.3 3.dog x-/y x/-y", ["dog", "3", "3", "dog", "x", "y", "x", "y"]),
        ("black & white #1, 50%", ["black", "white", "1", "50"]),
        ("he'd've 'til 'tis", ["he", "'d", "'ve", "til", "tis"]),
        ("well\u2011known cre\u00adma", ["well-known", "crema"]),
        ("Ein Mädchen läuft", ["ein", "mädchen", "läuft"]),
        ("Ma\u0308dchen", ["mädchen"]),
        ("Кошка спит.", ["кошка", "спит"]),
        ("एक कुत्ता दौड़ता है।", ["एक", "कुत्ता", "दौड़ता", "है"]),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u062f",
            ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u062f"],
        ),
        ("п\u02bcять I\u0307", ["п'ять", "i\u0307"]),
        (" . ,, -- ' / \u200d ", []),
        ("", []),
    ],
)
def test_tokenize(text, words):
    assert tokenize(text) == words


@pytest.mark.parametrize(
    "caption",
    [
        "在灰色的背景右边有一个小的红色方块。",
        "一只狗，在草地上奔跑。",
        "狗",
        "灰色の背景の上に小さな赤い四角がある",
        "สุนัขสีน้ำตาลตัวหนึ่งกำลังวิ่งเล่นอยู่บนสนามหญ้า",
        "ຫມາສີນ້ຳຕານກຳລັງແລ່ນຢູ່ໃນສະໜາມຫຍ້າ",
        "ឆ្កែពណ៌ត្នោតមួយក្បាលកំពុងរត់លើស្មៅ",
        "ခွေးညိုတစ်ကောင်သည်မြက်ခင်းပေါ်တွင်ပြေးနေသည်",
    ],
)
def test_captions_that_spaces_do_not_separate(caption):
    assert is_unsegmented(caption)


@pytest.mark.parametrize(
    "caption",
    [
        "a dog",
        "Donaudampfschifffahrtsgesellschaftskapitäne fahren",
        "在 灰色 的 背景 右边 有 一个 小 的 红色 方块 。",
        "灰色 の 背景 の 上 に 小さな 赤い 四角 が ある",
        "สุนัข สีน้ำตาล ตัว หนึ่ง กำลัง วิ่ง เล่น อยู่ บน สนาม หญ้า",
        "ខ្ញុំ ស្រឡាញ់ ឆ្កែ ពណ៌ ត្នោត",
        "갈색 개 한 마리가 잔디밭에서 뛰고 있다",
        "एक भूरा कुत्ता घास पर दौड़ रहा है",
        "...",
        "dog",  # a label
    ],
)
def test_captions_of_words(caption):
    assert not is_unsegmented(caption)


def test_tokenizing_twice_changes_nothing():
    """Generated captions are joined words: scoring must not take them apart differently."""
    random = np.random.default_rng(0)
    parts = ["a", "dog", "1", "22", "'s", "n't", "'re", "'", "-", ".", ",", ":", "/", " ", "#", "É"]
    for length in random.integers(1, 12, 2000):
        words = tokenize("".join(random.choice(parts, length)))
        assert tokenize(" ".join(words)) == words


def test_the_most_frequent_words_come_first_and_the_alphabet_decides():
    vocabulary = Vocabulary.build(CAPTIONS)
    assert vocabulary.words == ("<pad>", "<end>", "<unk>", "a", "dog", "cat", "runs", "sleeps")
    assert vocabulary.counts == (0, 3, 0, 3, 2, 1, 1, 1)


@pytest.mark.parametrize(("options", "kept"), [({"size": 2}, 2), ({"min_count": 2}, 2)])
def test_rare_words_are_unknown(options, kept):
    vocabulary = Vocabulary.build(CAPTIONS, **options)
    assert len(vocabulary) == 3 + kept
    assert vocabulary.counts[UNK] == 3
    assert vocabulary.encode(["a", "zebra", "dog"]) == [3, UNK, 4, END]


def test_ids_and_words_are_inverse():
    vocabulary = Vocabulary.build(CAPTIONS)
    ids = vocabulary.encode(["a", "cat", "runs"])
    assert vocabulary.decode([*ids, PAD, PAD]) == "a cat runs"
    assert vocabulary.decode([3, END, 4]) == "a"


def test_log_frequencies_are_those_of_the_words():
    vocabulary = Vocabulary.build(CAPTIONS, size=2)
    frequencies = [math.exp(value) for value in vocabulary.log_frequencies()]
    assert sum(frequencies) == pytest.approx(1.0)
    assert frequencies == pytest.approx([count / 16 for count in (1, 4, 4, 4, 3)])


def test_it_survives_a_file(tmp_path):
    vocabulary = Vocabulary.build([tokenize("Ein Mädchen läuft")])
    vocabulary.save(tmp_path / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert (loaded.words, loaded.counts) == (vocabulary.words, vocabulary.counts)
    assert loaded.fingerprint == vocabulary.fingerprint


def test_the_fingerprint_is_that_of_the_words_in_their_order():
    first = Vocabulary(("<pad>", "<end>", "<unk>", "a", "b"), (0, 1, 0, 2, 1))
    assert first.fingerprint == Vocabulary(first.words, (0, 9, 9, 9, 9)).fingerprint
    swapped = Vocabulary(("<pad>", "<end>", "<unk>", "b", "a"), first.counts)
    assert first.fingerprint != swapped.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["words"].reverse(), "starts with"),
        (lambda d: d["words"].append("a"), "no word twice, as 'a' is"),
        (lambda d: d["counts"].pop(), "one count, 0 or more"),
        (lambda d: d["words"].__setitem__(3, "x"), "were changed"),
        (lambda d: d["counts"].__setitem__(3, -1), "one count, 0 or more"),
        (lambda d: d["counts"].__setitem__(3, "3"), "one count, 0 or more"),
        (lambda d: d["words"].__setitem__(3, 7), "7 is no word"),
        (lambda d: d["words"].__setitem__(3, []), r"\[\] is no word"),
        (lambda d: d["counts"].__setitem__(3, 10**400), "one count, 0 or more"),
        (lambda d: d["words"].__setitem__(3, "two words"), "is no word"),
        (lambda d: d["words"].__setitem__(3, ""), "is no word"),
        (lambda d: d["words"].__setitem__(3, "\ud800"), "is no word"),
        (lambda d: d.update(words=dict.fromkeys(d["words"], 1)), "must be lists"),
        (lambda d: d.update(words=None), "must be lists"),
        (lambda d: d.pop("counts"), "must be lists"),
        (lambda d: d.update(format_version=9), "format_version"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "vocabulary.json"
    Vocabulary.build(CAPTIONS).save(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=rf"vocabulary\.json.*{message}"):
        Vocabulary.load(path)


def test_each_word_has_one_class():
    counts = Counter(word for words in FUNCTION_WORDS.values() for word in words.split())
    assert [word for word, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("word", [w for words in FUNCTION_WORDS.values() for w in words.split()])
def test_each_word_is_one_token(word):
    assert tokenize(word) == [word]


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("the dog's", ["article", "content", "clitic"]),
        ("two in red", ["content", "preposition", "content"]),
        ("he is", ["pronoun", "auxiliary"]),
        ("isn't", ["auxiliary", "clitic"]),
    ],
)
def test_classes_of_words(text, classes):
    assert [word_class(word) for word in tokenize(text)] == classes
