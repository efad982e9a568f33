use super::*;
use crate::plan::explain::Prerequisite;

fn told_needs(case: &Case, plan: &Plan, gate_last_wave: bool) -> Vec<Vec<String>> {
    let need = |need: &Prerequisite| {
        let holding: Vec<String> =
            need.holding.iter().map(|one| format!("{} ({})", one.key.name, one.message)).collect();
        format!("{:?}: {}", need.condition, holding.join(", "))
    };
    prerequisites(plan, &case.live, gate_last_wave).iter().map(|needs| needs.iter().map(need).collect()).collect()
}

#[test]
fn every_stage_tells_what_it_waits_for_and_who_holds_it() {
    let case = Case::of([
        wanted(definition(), 0, absent()),
        Item { health: progressing(), ..wanted(deployment("d"), 0, Difference::InSync) },
        wanted(widget("w"), 0, absent()),
        wanted(config("c"), 1, absent()),
        extra(deployment("old"), 0, prunable()),
        extra(config("old"), 0, prunable()),
    ]);
    let plan = case.plan(true, false);
    let definition = "widgets.example.com (it is to be created)";
    let established = format!("Established {{ stage: 0 }}: {definition}");
    assert_eq!(
        told_needs(&case, &plan, true),
        [
            vec![],
            vec![format!("Applied {{ stage: 0 }}: {definition}"), established.clone()],
            vec!["Applied { stage: 1 }: ".to_owned(), established],
            vec![format!(
                "Healthy {{ wave: 0 }}: {definition}, d (Progressing: 1 of 2 replicas are ready), w (it is to be created)"
            )],
            vec!["Healthy { wave: 1 }: c (it is to be created)".to_owned()],
            vec!["Gone { stage: 4 }: old (it is to be pruned)".to_owned()],
        ]
    );
    let without_gate = told_needs(&case, &plan, false);
    assert_eq!(without_gate[4], ["Applied { stage: 3 }: c (it is to be created)"]);
}

#[test]
fn an_object_that_is_to_be_configured_and_is_not_well_says_both() {
    let changed = Difference::Changed(crate::diff::Cause::Desired);
    let case = Case::of([
        Item { health: progressing(), ..wanted(deployment("d"), 0, changed) },
        wanted(namespace("shop"), 0, Difference::Terminating),
        wanted(config("c"), 0, absent()),
    ]);
    assert_eq!(
        told_needs(&case, &case.plan(false, false), true),
        [
            vec![],
            vec![
                "Applied { stage: 0 }: ".to_owned(),
                "Gone { stage: 0 }: shop (it is being deleted and will be made again)".to_owned(),
            ],
            vec![
                "Applied { stage: 1 }: c (it is to be created)".to_owned(),
                "Gone { stage: 0 }: shop (it is being deleted and will be made again)".to_owned(),
            ],
        ]
    );
}

#[test]
fn a_wave_also_waits_for_what_is_made_again_in_the_one_before() {
    let case =
        Case::of([wanted(config("going"), 0, Difference::Terminating), wanted(config("c"), 1, Difference::InSync)]);
    assert_eq!(
        told_needs(&case, &case.plan(false, false), true),
        [vec![], vec!["Healthy { wave: 0 }: going (it is being deleted and will be made again)".to_owned()]]
    );
}
