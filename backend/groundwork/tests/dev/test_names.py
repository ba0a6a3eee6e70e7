"""`Names` replaces one name by another in all its forms."""

import pytest

from groundwork.dev.names import Names, UnusableNameError, rename

ONE, TWO = Names.of("Harbour"), Names.of("Blue Harbour 2")


def test_a_name_has_a_form_for_every_place() -> None:
    forms = ("Blue Harbour 2", "blue-harbour-2", "blue_harbour_2", "BLUE_HARBOUR_2", "BlueHarbour2")
    assert tuple(form for _, form in TWO.forms()) == forms
    assert Names.of("Café São").slug == "cafe-sao"


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Größe Büro", "grosse-buro"),
        ("GROẞE Ähre", "grosse-ahre"),
        ("Łódź Đorđe", "lodz-dorde"),
        ("Ærø Œuvre", "aero-oeuvre"),
        ("Ørsted Þing Hafþór", "orsted-thing-hafthor"),
    ],
)
def test_no_latin_letter_is_lost(title: str, slug: str) -> None:
    assert Names.of(title).slug == slug


def test_letters_that_would_be_lost_are_refused_by_name() -> None:
    with pytest.raises(UnusableNameError, match=r"without a form from A to Z \(Ж, ж\)"):
        Names.of("Büro Ж ж")


@pytest.mark.parametrize(
    ("of_one_word", "of_more"),
    [
        ("# Harbour", "# Blue Harbour 2"),
        ("harbour-backend:0.1.0", "blue-harbour-2-backend:0.1.0"),
        ("harbour_requests_total", "blue_harbour_2_requests_total"),
        ("HARBOUR_URL", "BLUE_HARBOUR_2_URL"),
        ("class HarbourClient", "class BlueHarbour2Client"),
        ("The Harbour authors", "The Blue Harbour 2 authors"),
    ],
)
def test_each_form_is_replaced_by_the_same_form_there_and_back(of_one_word: str, of_more: str) -> None:
    assert rename(of_one_word, ONE, TWO) == of_more
    assert rename(of_more, TWO, ONE) == of_one_word


def test_a_new_name_may_hold_the_old_one() -> None:
    assert rename("Harbour, harbour", ONE, TWO) == "Blue Harbour 2, blue-harbour-2"


@pytest.mark.parametrize("title", ["", "harbour", "2 Harbours", 'A "b"', "A\nb", "A/b", "Ab", "A" * 31, "Ж", "A'b"])
def test_a_name_that_files_cannot_hold_is_refused(title: str) -> None:
    with pytest.raises(UnusableNameError):
        Names.of(title)
