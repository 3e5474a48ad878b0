"""MQTT's own rules for the names of topics (MQTT 5 §1.5.4, §4.7)."""

LONGEST_BYTES = 65_535
"""A string of MQTT has a length of two bytes."""

_NONCHARACTERS = range(0xFDD0, 0xFDF0)


def topic_fault(topic: str) -> str:
    """Why nobody may publish to this topic, or "".

    A broker may close the connection of who publishes to a topic with control characters, so they count too.
    """
    if not topic:
        return "it is empty"
    if "+" in topic or "#" in topic:
        return "it holds a wildcard, + or #"
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return "it is not UTF-8"
    if size > LONGEST_BYTES:
        return f"it has {size} bytes, and {LONGEST_BYTES} are the most"
    if any(_is_control(ord(sign)) for sign in topic):
        return "it holds a control character"
    return ""


def _is_control(code: int) -> bool:
    """U+0000 to U+001F, U+007F to U+009F, and the code points that are no characters."""
    return code < 0x20 or 0x7F <= code <= 0x9F or code in _NONCHARACTERS or code & 0xFFFE == 0xFFFE
