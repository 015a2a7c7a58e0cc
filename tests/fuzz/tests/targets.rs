//! Every target for a few thousand inputs, always the same ones.

use zeo_fuzz::{Subject, TARGETS, Target, Until, run};

/// One test, since memory is counted for the whole process.
#[test]
fn nothing_is_found_in_a_short_run_but_what_is_there() {
    for target in TARGETS {
        // An input of these takes a file, or a conversation.
        let slow = matches!(
            target.name,
            "session" | "client" | "index" | "configuration"
        );
        let iterations = if slow { 500 } else { 4000 };
        if let Err(finding) = run(target, 1, Until::Iterations(iterations)) {
            panic!("{finding}");
        }
    }
    for prepare in [panics, takes_memory, breaks_its_rule] {
        let target = Target {
            name: "bad",
            corpus: || vec![b"input".to_vec()],
            prepare,
            slack: 1 << 20,
        };
        let finding = run(&target, 1, Until::Iterations(1000)).expect_err("it is bad");
        let again = run(&target, finding.seed, Until::Iterations(1)).expect_err("it still is");
        assert_eq!(again.input, finding.input);
    }
}

fn panics() -> Subject {
    Box::new(|input| match input.first() {
        Some(b'j') => Err(Vec::<&str>::new()[input.len()].to_owned()),
        _ => Ok(()),
    })
}

fn takes_memory() -> Subject {
    Box::new(|input| {
        let length = if input.len() == 3 { 4 << 20 } else { 0 };
        drop(std::hint::black_box(vec![1_u8; length]));
        Ok(())
    })
}

fn breaks_its_rule() -> Subject {
    Box::new(|input| match input.len() {
        3 => Err("three".to_owned()),
        _ => Ok(()),
    })
}
