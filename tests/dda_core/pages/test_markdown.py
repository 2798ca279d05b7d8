from __future__ import annotations

from dda_core.pages.markdown import cell, hover, link, table


def test_untrusted_texts_are_escaped() -> None:
    assert cell("a | <b>c</b>\n*d* `e` [f](g) _h_ &amp;") == (
        r"a \| &lt;b&gt;c&lt;/b&gt; \*d\* \`e\` \[f\](g) \_h\_ &amp;amp;"
    )


def test_an_underscore_inside_a_word_is_left_alone() -> None:
    assert cell("x86_64-cuda") == "x86_64-cuda"


def test_details_on_hover_cannot_leave_their_attribute() -> None:
    shown = hover("4/4", 'a "quoted" | <i>one</i>\nsecond')
    assert shown == '<span title="a &quot;quoted&quot; &#124; &lt;i&gt;one&lt;/i&gt;&#10;second">4/4</span>'


def test_without_details_there_is_no_hover() -> None:
    assert hover("4/4", "") == "4/4"


def test_a_link_keeps_its_end_and_its_cell() -> None:
    assert link("x", "/v2/runs?tags=model:a|b (c)") == "[x](/v2/runs?tags=model:a%7Cb%20%28c%29)"


def test_a_table_is_github_markdown() -> None:
    assert table(["name", "n"], [["a", "1"]], right=["n"]) == "| name | n |\n| --- | ---: |\n| a | 1 |"
