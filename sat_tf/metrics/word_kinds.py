"""Kinds of English words, by closed lists: what is in none of them is a content word."""

CONTENT = "content"
# Numerals are left to the content words: "two" is seen, as "red" is.
FUNCTION_WORDS = {
    "article": "a an the",
    "determiner": "this that these those some any each every another other both all no",
    "preposition": (
        "of in on at by with from to into onto over under above below behind beside between "
        "through across along around near against among during for off out up down toward towards "
        "upon inside outside underneath beneath past within without about atop"
    ),
    "conjunction": "and or but nor while as because if than so though although",
    "pronoun": (
        "i you he she it we they me him her us them his hers its our their my your who whom which "
        "whose what himself herself itself themselves someone something others there where"
    ),
    "auxiliary": (
        "is are was were be been being am has have had do does did can could will would may might "
        "must should not"
    ),
    "clitic": "'s 're 've 'll 'd 'm n't",
}
_KIND_OF = {word: kind for kind, words in FUNCTION_WORDS.items() for word in words.split()}


def kind_of(word: str) -> str:
    """The kind of a word as `sat_tf.vocabulary.tokenize` has it: a list's name or "content"."""
    return _KIND_OF.get(word, CONTENT)
