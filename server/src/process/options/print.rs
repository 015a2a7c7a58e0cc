//! `--print-config`: what is in force, and where each value comes from, as a configuration file.

use std::fmt::Write;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use zeo_storage::zconfig::{Entry, Env, Place, Section};

use super::environment::variable;

type Defaults = &'static [(&'static str, Option<&'static str>)];

/// The keys of a section that are in force without being given, with their values; `None` for those
/// that have none then. In the order in which they are shown.
const DEFAULTS: [(&str, Defaults); 7] = [
    (
        "zeo",
        &[
            ("read-only", Some("false")),
            ("invalidation-queue-size", Some("100")),
            ("invalidation-age", None),
            ("transaction-timeout", Some("30")),
            ("pid-filename", None),
            ("client-conflict-resolution", Some("false")),
            ("msgpack", Some("false")),
        ],
    ),
    (
        "filestorage",
        &[
            ("create", Some("false")),
            ("read-only", Some("false")),
            ("quota", None),
            ("pack-gc", Some("true")),
            ("pack-keep-old", Some("true")),
            ("blob-dir", None),
        ],
    ),
    ("mappingstorage", &[("name", Some("Mapping Storage"))]),
    ("demostorage", &[("name", None)]),
    ("zlibstorage", &[("compress", Some("true"))]),
    ("serverzlibstorage", &[("compress", Some("true"))]),
    ("eventlog", &[("level", Some("info"))]),
];

/// What the configuration file says (`root`), with what the command line and the environment
/// change, as a text that can be read as a configuration file again; options that a file can't hold
/// are comments. `pid_file` and `msgpack` are as in [`Options`](super::Options).
pub(super) fn text(
    root: Option<Section>,
    (command, matches): (&Command, &ArgMatches),
    (pid_file, msgpack): (Option<&Path>, bool),
    env: Env,
) -> String {
    let mut root = root.unwrap_or_else(|| empty("", None));
    override_storages(&mut root, matches);
    if !root.sections.iter().any(|section| section.kind == "zeo") {
        root.sections.insert(0, empty("zeo", None));
    }
    let zeo = root
        .sections
        .iter_mut()
        .find(|section| section.kind == "zeo");
    if let Some(zeo) = zeo {
        override_zeo(zeo, matches, (pid_file, msgpack));
    }
    let mut text = String::new();
    for section in &root.sections {
        write_section(&mut text, section, 0);
    }
    write_options(&mut text, command, matches, env);
    text
}

/// The sections of a configuration that are no storages.
const BESIDE: [&str; 3] = ["zeo", "eventlog", "runner"];
const COMMAND_LINE: &str = "command line";

fn empty(kind: &str, name: Option<String>) -> Section {
    Section {
        kind: kind.to_owned(),
        name,
        place: Place::beside_the_file(COMMAND_LINE),
        entries: Vec::new(),
        sections: Vec::new(),
    }
}

/// The storages that `-f` gives in place of the file's, or the name of the one that has none.
fn override_storages(root: &mut Section, matches: &ArgMatches) {
    let given: Vec<String> = raw(matches, "filename");
    if !given.is_empty() {
        root.sections
            .retain(|section| BESIDE.contains(&section.kind.as_str()));
    }
    for (number, path) in (1..).zip(given) {
        let mut section = empty("filestorage", Some(number.to_string()));
        set(&mut section, "path", path, COMMAND_LINE);
        root.sections.push(section);
    }
    let mut storages = root.sections.iter_mut();
    let is_unnamed = |s: &&mut Section| s.name.is_none() && !BESIDE.contains(&s.kind.as_str());
    if let Some(unnamed) = storages.find(is_unnamed) {
        unnamed.name = Some("1".to_owned());
    }
}

fn override_zeo(zeo: &mut Section, matches: &ArgMatches, now: (Option<&Path>, bool)) {
    for (id, key) in [
        ("address", "address"),
        ("timeout", "transaction-timeout"),
        ("pid_file", "pid-filename"),
    ] {
        if let Some(value) = raw(matches, id).pop() {
            set(zeo, key, value, COMMAND_LINE);
        }
    }
    let has = |zeo: &Section, key: &str| zeo.entries.iter().any(|e| is_key(e, key));
    if let (Some(path), false) = (now.0, has(zeo, "pid-filename")) {
        let path = path.display().to_string();
        set(zeo, "pid-filename", path, "$INSTANCE_HOME");
    }
    // In a file, its directory must exist; elsewhere it only means that there is no pid file.
    zeo.entries.retain(|entry| {
        let value = Path::new(&entry.value);
        !is_key(entry, "pid-filename") || !value.parent().is_some_and(is_missing)
    });
    if now.1 && !has(zeo, "msgpack") {
        set(zeo, "msgpack", "true".to_owned(), "$ZEO_MSGPACK");
    }
}

fn is_missing(directory: &Path) -> bool {
    !directory.as_os_str().is_empty() && !directory.is_dir()
}

/// The values that the command line gives, as they stand there.
fn raw(matches: &ArgMatches, id: &str) -> Vec<String> {
    let values = matches.get_raw(id).into_iter().flatten();
    values
        .map(|value| value.to_string_lossy().into_owned())
        .collect()
}

fn is_key(entry: &Entry, key: &str) -> bool {
    entry.key.eq_ignore_ascii_case(key)
}

fn set(section: &mut Section, key: &str, value: String, origin: &str) {
    section.entries.retain(|entry| !is_key(entry, key));
    section.entries.push(Entry {
        key: key.to_owned(),
        value,
        place: Place::beside_the_file(origin),
    });
}

fn write_options(text: &mut String, command: &Command, matches: &ArgMatches, env: Env) {
    text.push_str("\n# Options that a configuration file can't hold:\n");
    for arg in command.get_arguments() {
        let (Some(long), Some(name)) = (arg.get_long(), variable(arg)) else {
            continue;
        };
        let id = arg.get_id().as_str();
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => COMMAND_LINE.to_owned(),
            _ if env(&name).is_some_and(|value| !value.is_empty()) => format!("${name}"),
            _ => {
                let _ = writeln!(text, "#   --{long}: default");
                continue;
            }
        };
        let value = one_line(&raw(matches, id).join(" "));
        let _ = writeln!(text, "#   --{long} {value}: {origin}");
    }
}

fn write_section(text: &mut String, section: &Section, depth: usize) {
    let indent = "  ".repeat(depth);
    let name = section.name.as_ref().map(|name| format!(" {name}"));
    let kind = &section.kind;
    let _ = writeln!(text, "{indent}# {}", origin(&section.place));
    let _ = writeln!(text, "{indent}<{kind}{}>", name.unwrap_or_default());
    for entry in &section.entries {
        write_entry(text, entry, &indent);
    }
    let defaults = DEFAULTS.iter().filter(|(known, _)| known == kind);
    for (key, value) in defaults.flat_map(|(_, defaults)| defaults.iter()) {
        if section.entries.iter().any(|entry| is_key(entry, key)) {
            continue;
        }
        let _ = match value {
            Some(value) => write!(text, "{indent}  # default\n{indent}  {key} {value}\n"),
            None => writeln!(text, "{indent}  # not set: {key}"),
        };
    }
    for inner in &section.sections {
        write_section(text, inner, depth + 1);
    }
    let _ = writeln!(text, "{indent}</{kind}>");
}

fn write_entry(text: &mut String, Entry { key, value, place }: &Entry, indent: &str) {
    let value = one_line(&value.replace('$', "$$"));
    let _ = writeln!(text, "{indent}  # {}", origin(place));
    let _ = writeln!(text, "{indent}  {key} {value}");
}

/// A file with its line, or what else gave a value.
fn origin(place: &Place) -> String {
    let file = one_line(&place.file.display().to_string());
    match place.line {
        0 => file,
        line => format!("{file}:{line}"),
    }
}

/// No line of the text ends where a value has a line break of its own (by `-X`).
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Options, OptionsError};
    use super::*;

    fn parse(args: &[&str], env: Env) -> Result<Options, OptionsError> {
        Options::parse(std::iter::once("runzeo").chain(args.iter().copied()), env)
    }

    fn printed(args: &[&str], env: Env) -> String {
        let error = parse(&[args, &["--print-config"]].concat(), env).unwrap_err();
        assert_eq!(error.exit_code(), 0, "{error}");
        error.report()
    }

    /// The options, without where the storages stand.
    fn settings(args: &[&str], env: Env) -> Options {
        let mut options = parse(args, env).unwrap();
        for storage in &mut options.config.storages {
            storage.place = None;
        }
        // They are in the options themselves, too, with what the environment says.
        (options.config.zeo.msgpack, options.config.zeo.pid_filename) = (None, None);
        options
    }

    /// What is printed means the same, and so the defaults that it names are true.
    #[test]
    fn what_is_printed_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let small = written(
            "small",
            "<zeo>\naddress 1\n</zeo>\n<filestorage>\npath a$$b\n</filestorage>\n",
        );
        let others = written(
            "others",
            "<zeo>\naddress 1\nREAD-ONLY on\n</zeo>\n<mappingstorage m/>\n<demostorage d>\n\
             <zlibstorage>\n<filestorage>\npath z\n</filestorage>\n</zlibstorage>\n</demostorage>\n\
             <serverzlibstorage s>\n<mappingstorage/>\n</serverzlibstorage>\n\
             <eventlog>\n<logfile>\npath STDERR\nformat %(message)s $$1\n</logfile>\n</eventlog>\n",
        );
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../etc/zeo.conf");
        fs::create_dir(directory.path().join("var")).unwrap();
        let place = directory.path().display().to_string();
        let home = |name: &str| (name == "INSTANCE_HOME").then(|| place.clone());
        let packed = |name: &str| (name == "ZEO_MSGPACK").then(|| "1".to_owned());
        let cases: [(&[&str], Env); 7] = [
            (&["-C", &small], &|_| None),
            (&["-C", &small], &home),
            (&["-C", &small, "-X", "zeo/msgpack=off"], &packed),
            (
                &["-C", &others, "-X", "s/compress=false", "-t", "7"],
                &packed,
            ),
            (&["-C", sample, "-a", "h:8100", "--pid-file", "/p"], &|_| {
                None
            }),
            (&["-C", &others, "-f", "a.fs", "-f", "b.fs"], &|_| None),
            (&["-a", "8100", "-f", "a.fs"], &packed),
        ];
        for (args, env) in cases {
            let text = printed(args, env);
            let again = written("again", &text);
            let same = settings(&["-C", &again], &|_| None);
            assert_eq!(same, settings(args, env), "{args:?}:\n{text}");
            // And nothing is printed of itself that was a default.
            assert_eq!(
                printed(&["-C", &again], &|_| None)
                    .matches("# default")
                    .count(),
                0
            );
        }
    }

    #[test]
    fn where_values_come_from() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zeo.conf");
        fs::write(
            &path,
            "<zeo>\n  address 1\n</zeo>\n<filestorage>\npath a\n</filestorage>\n",
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let env = |name: &str| (name == "RZEO_MAX_MESSAGE_SIZE").then(|| "5mb".to_owned());
        let args = [
            "-C",
            path,
            "-X",
            "zeo/read-only=on",
            "-t",
            "7",
            "--address-file",
            "/a",
        ];
        let text = printed(&args, &env);
        for expected in [
            format!("  # {path}:2\n  address 1\n"),
            "  # -X zeo/read-only=on\n  read-only on\n".to_owned(),
            "  # command line\n  transaction-timeout 7\n".to_owned(),
            "  # default\n  client-conflict-resolution false\n".to_owned(),
            "  # not set: invalidation-age\n".to_owned(),
            format!("# {path}:4\n<filestorage 1>\n"),
            "#   --max-message-size 5mb: $RZEO_MAX_MESSAGE_SIZE\n".to_owned(),
            "#   --address-file /a: command line\n".to_owned(),
            "#   --conflict-resolver: default\n".to_owned(),
        ] {
            assert!(text.contains(&expected), "{expected}\nin\n{text}");
        }
    }
}
