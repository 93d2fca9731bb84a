"""What data sets are called."""

from fusion_jax.plan import DataPlan
from fusion_jax.results.data_names import data_names, stated_names
from tests import tiny


def test_a_data_set_by_its_path_is_named_without_folders_unless_two_have_the_name():
    def names(*parts):
        plans = [DataPlan(**{**vars(tiny.cell().plan.data), "name": name, "options": more}) for name, more in parts]
        return list(data_names(plans).values())

    assert names(("/x/mine.py", {}), ("synthetic", {"nodes": 9})) == ["mine", "synthetic"]
    assert names(("/x/mine.py", {"by": "/y/how.py"}), ("/x/mine.py", {})) == ["mine (by=how)", "mine"]
    assert names(("/x/mine.py", {}), ("/y/mine.py", {}), ("a", {})) == ["/x/mine.py", "/y/mine.py", "a"]


def test_a_folder_of_tables_is_named_like_itself():
    def names(*options):
        plans = [DataPlan(**{**vars(tiny.cell().plan.data), "name": "tables", "options": more}) for more in options]
        return list(data_names(plans).values())

    assert names({"folder": "/x/cohort"}) == ["cohort"]
    assert names({"folder": "/x/cohort", "k": 5}, {"folder": "/x/cohort"}) == ["cohort (k=5)", "cohort"]
    assert names({"folder": "/x/cohort"}, {"folder": "/x/other", "k": 5}) == ["cohort", "other"]
    assert names({"folder": "/x/cohort"}, {"folder": "/y/cohort"}) == ["/x/cohort", "/y/cohort"]
    assert names({}) == ["tables"]


def test_what_is_taken_away_makes_another_problem_of_a_data_set():
    plain = tiny.cell().plan.data
    lacking = [
        tiny.cell(data__missing__name="uniform", data__missing__options=dict(rate=rate)).plan.data
        for rate in (0.3, 0.6)
    ]
    named = list(data_names([plain, *lacking]).values())
    assert len(set(named)) == 3
    assert named[1].endswith(", missing uniform 0.3)") and named[2].endswith(", missing uniform 0.6)")
    strong = tiny.cell(data__missing__name="label", data__missing__options=dict(strength=4.0)).plan.data
    assert list(data_names([plain, strong]).values())[1].endswith("missing label 0.3 strength=4.0)")
    assert list(data_names([lacking[0]]).values()) == ["synthetic"]


def test_a_row_that_is_not_run_may_say_its_data_in_full_however_many_variants_the_study_has():
    def stated(*parts):
        return stated_names(
            [DataPlan(**{**vars(tiny.cell().plan.data), "name": n, "options": more}) for n, more in parts]
        )

    one, other = ("synthetic", {"nodes": 9, "classes": 3}), ("synthetic", {"nodes": 8})
    assert stated(one) == {"synthetic": "synthetic", "synthetic (classes=3, nodes=9)": "synthetic"}
    both = stated(one, other)
    assert both.pop("synthetic") == "synthetic"  # of neither in particular
    assert both == {name: name for name in ("synthetic (classes=3, nodes=9)", "synthetic (nodes=8)")}
    assert "synthetic (nodes=8)" not in stated(one) and "digits" not in stated(one)
