"""Classes of English words by closed lists: a word in none of them is a content word."""

CONTENT = "content"
# Numerals are content words: what "two" means can be seen in an image, as "red" can.
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
_CLASS_OF = {word: name for name, words in FUNCTION_WORDS.items() for word in words.split()}


def word_class(word: str) -> str:
    """Return the class of a token: the name of a list, or "content"."""
    return _CLASS_OF.get(word, CONTENT)
