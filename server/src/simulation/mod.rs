//! A simulation of the commit logic: the real coordinator, sessions,
//! connections and storage, stepped in one thread by a seeded scheduler, with
//! clients that distrust every answer, a clock that the test winds, and no
//! disk. What it checks holds for every order of steps that threads could
//! take.

mod checks;
mod client;
mod history;
mod plan;
// The storage of the example, which knows the public interface only.
#[path = "../../examples/shared/storage.rs"]
pub(crate) mod shared;
mod storage;
mod world;

use self::plan::Plan;
use self::world::World;
use crate::messages::event::Event;
use crate::messages::rules::{Answering, Rule, break_rule};
use crate::session::Session;

impl Answering for Session {
    fn on_event(&mut self, event: Event) {
        Session::on_event(self, event);
    }

    fn put_behind(&mut self, before: usize, meanwhile: impl FnOnce(&mut Self)) {
        let answer = self.output.split_off(before);
        meanwhile(self);
        self.output.append(answer);
    }
}

const SEEDS: u64 = 60;
const STEPS: usize = 1500;

/// Runs one world; what it finds wrong is the error.
fn run(seed: u64, plan: &Plan) -> Result<(), String> {
    let world = World::new(seed, plan);
    world
        .run(STEPS)
        .map_err(|why| format!("seed {seed}: {why}"))
}

fn found_by_any_seed(plan: &Plan) -> Option<String> {
    (0..SEEDS * 4).find_map(|seed| run(seed, plan).err())
}

#[test]
fn every_order_of_steps_keeps_the_rules() {
    break_rule(None);
    for seed in 0..SEEDS {
        run(seed, &Plan::default()).unwrap();
    }
}

#[test]
fn transactions_that_stall_time_out_and_hold_up_nobody() {
    break_rule(None);
    let plan = Plan {
        stalls: true,
        ..Plan::default()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

#[test]
fn a_conflict_reported_to_the_client_can_be_resolved_there() {
    break_rule(None);
    let plan = Plan {
        client_conflict_resolution: true,
        ..Plan::default()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

#[test]
fn a_failing_disk_ends_commits_and_nothing_else() {
    break_rule(None);
    let plan = Plan {
        disk_fails: true,
        ..Plan::default()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

#[test]
fn a_stop_lets_those_finish_who_have_voted() {
    break_rule(None);
    let plan = Plan {
        stops: true,
        ..Plan::default()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

/// A storage that others change, too.
fn others() -> Plan {
    Plan {
        others: true,
        ..Plan::default()
    }
}

/// One that has to ask others.
fn remote() -> Plan {
    Plan {
        remote: true,
        ..others()
    }
}

#[test]
fn what_helpers_have_found_is_answered_in_order() {
    break_rule(None);
    for seed in 0..SEEDS {
        run(seed, &remote()).unwrap();
    }
}

#[test]
fn changes_by_others_come_in_order() {
    break_rule(None);
    let resolving = Plan {
        client_conflict_resolution: true,
        ..others()
    };
    for seed in 0..SEEDS {
        run(seed, &others()).unwrap();
        run(seed, &resolving).unwrap();
    }
}

#[test]
fn what_nobody_knows_makes_every_client_verify() {
    break_rule(None);
    let plan = Plan {
        loses_track: true,
        ..others()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

#[test]
fn an_outcome_that_nobody_knows_is_not_answered() {
    break_rule(None);
    let plan = Plan {
        breaks: true,
        stalls: true,
        ..others()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

#[test]
fn no_client_sees_the_wrong_order_of_a_storage_that_reports_too_late() {
    break_rule(None);
    let plan = Plan {
        lies: true,
        ..others()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

#[test]
fn rules_broken_over_changes_by_others_are_noticed() {
    assert_noticed(Rule::PublishThenAnnounce, &others());
    assert_noticed(Rule::AnswerThenDrain, &others());
    assert_noticed(Rule::MailboxInTidOrder, &others());
    assert_noticed(Rule::SubscribeThenRead, &others());
    assert_noticed(Rule::AskThenPoll, &others());
    assert_noticed(Rule::LookAgain, &remote());
}

#[test]
fn announcing_before_publishing_is_noticed() {
    assert_noticed(Rule::PublishThenAnnounce, &Plan::default());
}

#[test]
fn draining_before_answering_is_noticed() {
    assert_noticed(Rule::AnswerThenDrain, &Plan::default());
}

#[test]
fn announcing_out_of_order_is_noticed() {
    assert_noticed(Rule::MailboxInTidOrder, &Plan::default());
}

#[test]
fn reading_the_last_tid_before_subscribing_is_noticed() {
    assert_noticed(Rule::SubscribeThenRead, &Plan::default());
}

#[test]
fn a_publisher_that_writes_when_the_session_has_something_to_write_is_noticed() {
    assert_noticed(Rule::LendWhenDone, &Plan::default());
}

#[test]
fn a_session_that_does_not_wait_for_the_token_is_noticed() {
    assert_noticed(Rule::WaitForToken, &Plan::default());
}

#[test]
fn a_session_that_answers_before_what_was_sent_in_part_is_noticed() {
    assert_noticed(Rule::LeftComesFirst, &Plan::default());
}

#[test]
fn requests_that_are_taken_out_of_order_are_noticed() {
    assert_noticed(Rule::InboxOrder, &Plan::default());
    assert_noticed(Rule::InboxOrder, &others());
}

#[test]
fn dropping_from_a_full_mailbox_is_noticed() {
    assert_noticed(
        Rule::FullMailboxCloses,
        &Plan {
            sleepers: true,
            ..Plan::default()
        },
    );
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    break_rule(None);
    let plan = Plan {
        sleepers: true,
        ..Plan::default()
    };
    for seed in 0..SEEDS {
        run(seed, &plan).unwrap();
    }
}

fn assert_noticed(rule: Rule, plan: &Plan) {
    break_rule(Some(rule));
    let found = found_by_any_seed(plan);
    break_rule(None);
    let found = found.unwrap_or_else(|| panic!("nobody noticed that {rule:?} was broken"));
    println!("{rule:?}: {found}");
}
