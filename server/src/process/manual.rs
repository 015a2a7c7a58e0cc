//! Man pages and completions of a program, from the definition of its command line.
//!
//! Every program has the options `--man-page` and `--completions`: [`with_manual`] adds them to its
//! help, and [`answer`] answers them.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, ValueEnum, builder::PossibleValuesParser};
use clap_complete::Shell;

const MAN_PAGE: &str = "man-page";
const COMPLETIONS: &str = "completions";

/// The command line of a program with the two options.
pub fn with_manual(command: Command) -> Command {
    let shells = Shell::value_variants();
    let shells = shells.iter().filter_map(Shell::to_possible_value);
    let man_page = Arg::new(MAN_PAGE).long(MAN_PAGE).exclusive(true);
    let man_page = if command.has_subcommands() {
        let help = "Write the man page, or that of a SUBCOMMAND, to standard output";
        man_page.num_args(0..=1).value_name("SUBCOMMAND").help(help)
    } else {
        let help = "Write the man page to standard output";
        man_page.action(ArgAction::SetTrue).help(help)
    };
    command.arg(man_page).arg(
        Arg::new(COMPLETIONS)
            .long(COMPLETIONS)
            .exclusive(true)
            .value_name("SHELL")
            .help("Write the completions for a shell to standard output")
            .value_parser(PossibleValuesParser::new(shells)),
    )
}

/// The man page or the completions, if the arguments (the program's name first) ask for them and
/// nothing else.
///
/// # Errors
/// One line: there is no such shell or subcommand.
pub fn manual(command: &Command, args: &[OsString]) -> Option<Result<Vec<u8>, String>> {
    let args: Option<Vec<&str>> = args.iter().skip(1).map(|arg| arg.to_str()).collect();
    let args: Vec<&str> = args?.iter().flat_map(|arg| arg.splitn(2, '=')).collect();
    match args[..] {
        ["--man-page"] => Some(page(command, None)),
        ["--man-page", subcommand] if command.has_subcommands() => {
            Some(page(command, Some(subcommand)))
        }
        ["--completions", shell] => Some(completions(command, shell)),
        _ => None,
    }
}

/// Writes what [`manual`] gives for the arguments of this process to standard output; the status to
/// exit with, then. `None` when it is not asked for.
pub fn answer(command: &Command) -> Option<ExitCode> {
    let args: Vec<OsString> = std::env::args_os().collect();
    let text = match manual(command, &args)? {
        Ok(text) => text,
        Err(why) => {
            // Nobody may read it any more: the exit code still tells.
            let _ = writeln!(io::stderr(), "Error: {why}");
            return Some(ExitCode::from(2));
        }
    };
    let written = io::stdout().write_all(&text);
    Some(written.map_or(ExitCode::from(2), |()| ExitCode::SUCCESS))
}

fn page(command: &Command, subcommand: Option<&str>) -> Result<Vec<u8>, String> {
    let mut command = with_manual(command.clone());
    command.build();
    let name = command.get_name().to_owned();
    let command = match subcommand {
        None => command,
        Some(wanted) => {
            let found = command.find_subcommand(wanted).cloned();
            found.ok_or_else(|| format!("{name} has no subcommand {wanted:?}"))?
        }
    };
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|why| unwritten(&why))?;
    Ok(page)
}

fn completions(command: &Command, shell: &str) -> Result<Vec<u8>, String> {
    let shell = Shell::from_str(shell, false).map_err(|_| {
        let known = Shell::value_variants().iter().map(Shell::to_string);
        let known = known.collect::<Vec<_>>().join(", ");
        format!("there are no completions for {shell:?}, but for {known}")
    })?;
    let mut command = with_manual(command.clone());
    let (name, mut text) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut command, name, &mut text);
    Ok(text)
}

fn unwritten(why: &dyn Display) -> String {
    format!("the man page can't be made: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(command: &Command, args: &[&str]) -> Option<Result<String, String>> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let done = manual(command, &args)?;
        Some(done.map(|text| String::from_utf8(text).unwrap()))
    }

    #[test]
    fn pages_and_completions() {
        let inner = Command::new("test")
            .about("Look at it")
            .arg(Arg::new("deep").long("deep"));
        let tool = Command::new("tool").about("Do things").subcommand(inner);
        let get = |args: &[&str]| asked(&tool, args).unwrap();
        let page = get(&["tool", "--man-page"]).unwrap();
        assert!(
            page.contains(".TH tool 1") && page.contains("tool\\-test(1)"),
            "{page}"
        );
        let page = get(&["tool", "--man-page", "test"]).unwrap();
        assert!(
            page.contains(".TH tool-test 1") && page.contains("\\-\\-deep"),
            "{page}"
        );
        for shell in ["bash", "zsh", "fish"] {
            let text = get(&["tool", "--completions", shell]).unwrap();
            assert!(
                text.contains("deep") && text.contains("man-page"),
                "{shell}: {text}"
            );
            assert_eq!(
                get(&["tool", &format!("--completions={shell}")]).unwrap(),
                text
            );
        }
        let wrong = get(&["tool", "--completions", "cmd"]).unwrap_err();
        assert!(wrong.contains("bash") && wrong.contains("fish"), "{wrong}");
        assert!(get(&["tool", "--man-page", "x"]).is_err());
        assert!(asked(&tool, &["tool", "test", "--man-page"]).is_none());
    }
}
