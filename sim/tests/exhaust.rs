//! Every schedule of a few clients.

use std::process::Command;

use echosphere_core::echo::Message;
use echosphere_core::{Action, CloseReason, Event};
use sim::exhaust::{Explored, FailedSchedule, Scope, ServerStep, explore, replay};

fn all_of(scope: &Scope) -> Explored {
    explore(scope, |_| {}).unwrap_or_else(|broken| panic!("{broken:?}"))
}

/// The schedule that breaks one more rule, which is wrong, and again by its decisions.
fn breaks(scope: Scope, rule: fn(ServerStep<'_>) -> Result<(), String>) -> FailedSchedule {
    let scope = Scope {
        also: Some(rule),
        ..scope
    };
    let found = explore(&scope, |_| {}).expect_err("a schedule that breaks it");
    let again = replay(&scope, &found.decisions).expect("decisions that can be made");
    let again = again.expect_err("the same schedule");
    assert_eq!((&again.rule, &again.decisions), (&found.rule, &found.decisions));
    assert!(!again.steps.is_empty(), "it tells what happens");
    *again
}

#[test]
fn two_clients_are_served_whatever_happens_in_which_order() {
    // Deeper than any run of them goes.
    let explored = all_of(&Scope {
        disturbances: 0,
        ..Scope::new(2, 40)
    });
    assert!(explored.longest < 40, "{explored:?}");
    assert!(explored.schedules > 50_000, "{explored:?}");
    assert!(u128::from(explored.runs) < explored.schedules / 50, "{explored:?}");
}

#[test]
fn two_clients_are_served_though_something_breaks() {
    for same_x in [false, true] {
        let explored = all_of(&Scope {
            same_x,
            ..Scope::new(2, 9)
        });
        assert!(explored.schedules > 10_000, "{explored:?}");
    }
}

#[test]
fn schedules_that_are_only_counted_are_as_many_as_those_that_are_run() {
    for (clients, depth, disturbances) in [(1, 9, 1), (2, 8, 0), (2, 7, 1), (3, 6, 0)] {
        let scope = Scope {
            disturbances,
            ..Scope::new(clients, depth)
        };
        let merged = all_of(&scope);
        let apart = all_of(&Scope { merge: false, ..scope });
        assert_eq!(merged.schedules, apart.schedules);
        assert_eq!(u128::from(apart.runs), apart.schedules);
        // One client has no other to overtake.
        assert!(merged.runs < apart.runs || clients == 1);
    }
}

#[test]
fn a_wrong_rule_is_found_and_the_schedule_can_be_replayed() {
    let never_anew = |(event, actions): ServerStep<'_>| match (event, actions) {
        (Event::Closed(..), [Action::Send(_, Message::Message(_)), ..]) => Err("forwarded anew".to_owned()),
        _ => Ok(()),
    };
    let found = breaks(Scope::new(2, 40), never_anew);
    assert_eq!(found.rule, "forwarded anew");
}

#[test]
fn the_server_chooses_everybody() {
    fn chosen((event, actions): ServerStep<'_>) -> Option<bool> {
        match (event, actions) {
            (Event::Received(from, Message::Message(_)), [Action::Send(to, Message::Message(_))]) => Some(from == to),
            _ => None,
        }
    }
    let scope = Scope {
        disturbances: 0,
        ..Scope::new(2, 40)
    };
    breaks(scope, |step| match chosen(step) {
        Some(true) => Err("to itself".to_owned()),
        _ => Ok(()),
    });
    breaks(scope, |step| match chosen(step) {
        Some(false) => Err("to another".to_owned()),
        _ => Ok(()),
    });
}

#[test]
fn connections_break_only_if_something_disturbs_them() {
    let never_reset = |(event, _): ServerStep<'_>| match event {
        Event::Closed(_, CloseReason::Reset) => Err("reset".to_owned()),
        _ => Ok(()),
    };
    breaks(Scope::new(2, 40), never_reset);
    let calm = Scope {
        disturbances: 0,
        also: Some(never_reset),
        ..Scope::new(2, 40)
    };
    all_of(&calm);
}

#[test]
fn the_command_says_how_many_schedules_there_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["exhaust", "--clients", "2", "--depth", "6", "--json"])
        .output()
        .expect("the simulator runs");
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let schedules = all_of(&Scope::new(2, 6)).schedules;
    assert_eq!(report["schedules"], schedules.to_string());
}
