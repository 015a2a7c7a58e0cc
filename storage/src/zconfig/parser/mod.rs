//! Lines to a tree: keys, sections and the three directives.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::substitution::{is_name, substitute};
use super::{ConfigError, Entry, Env, Place, Section, is_space, locate, trim};

/// The packages whose section types are built in, so that `%import` of them has nothing to do.
const PACKAGES: [&str; 7] = [
    "ZConfig.components.basic",
    "ZConfig.components.logger",
    "ZEO",
    "ZODB",
    "relstorage",
    "zc.zlibstorage",
    "zdaemon",
];

/// How many levels of sections may stand in each other.
const MAX_SECTION_DEPTH: usize = 100;
/// How many levels of files may include each other.
const MAX_INCLUDE_DEPTH: usize = 50;
/// How many files may be included in all.
const MAX_INCLUDES: usize = 1000;
/// The longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads the configuration in `file`, a path or a `file:` URL, and all that it includes.
///
/// # Errors
/// [`ConfigError`] when a file can't be read or a line is not ZConfig's syntax.
pub fn load(file: &Path, env: Env) -> Result<Section, ConfigError> {
    load_by(&mut Parser::new(env), file)
}

/// As [`load`], for the configuration of another program, of which only some sections matter: any
/// package may be imported that brings types of sections.
///
/// # Errors
/// As for [`load`].
pub fn load_foreign(file: &Path, env: Env) -> Result<Section, ConfigError> {
    load_by(&mut Parser::foreign(env), file)
}

/// As [`load_foreign`], for a text that stands in no file. `name` is what messages call it; files
/// that it includes are sought from the working directory on.
///
/// # Errors
/// As for [`load`].
pub fn parse_foreign(text: &str, name: &str, env: Env) -> Result<Section, ConfigError> {
    Parser::foreign(env).parse(text, Path::new(name))
}

fn load_by(parser: &mut Parser<'_>, file: &Path) -> Result<Section, ConfigError> {
    let open = |path: &Path, source| ConfigError::Open {
        path: path.to_owned(),
        source,
    };
    let path = locate::configure_argument(file)
        .map_err(|problem| open(file, io::Error::new(io::ErrorKind::InvalidInput, problem)))?;
    let text = read(&path).map_err(|source| open(&path, source))?;
    parser.open_files.extend(fs::canonicalize(&path));
    parser.parse(&text, &path)
}

/// What the files of one configuration share.
struct Parser<'a> {
    env: Env<'a>,
    /// By name in lower case.
    defines: HashMap<String, String>,
    /// The files being read, each included by the one before.
    open_files: Vec<PathBuf>,
    includes: usize,
    section_depth: usize,
    /// Whether packages are imported that are not built in.
    any_package: bool,
}

impl<'a> Parser<'a> {
    fn new(env: Env<'a>) -> Parser<'a> {
        Parser {
            env,
            defines: HashMap::new(),
            open_files: Vec::new(),
            includes: 0,
            section_depth: 0,
            any_package: false,
        }
    }

    fn foreign(env: Env<'a>) -> Parser<'a> {
        Parser {
            any_package: true,
            ..Parser::new(env)
        }
    }

    /// Reads `text`, the contents of `file`, as a configuration of its own.
    fn parse(&mut self, text: &str, file: &Path) -> Result<Section, ConfigError> {
        let file: Arc<Path> = Arc::from(file);
        let place = Place {
            file: Arc::clone(&file),
            line: 1,
        };
        let mut root = Section::new(String::new(), None, place);
        self.parse_file(&mut root, text, file)?;
        Ok(root)
    }

    /// Reads `text`, the contents of `file`, into the section `outer`, in which all that it opens
    /// must be closed.
    fn parse_file(
        &mut self,
        outer: &mut Section,
        text: &str,
        file: Arc<Path>,
    ) -> Result<(), ConfigError> {
        let mut place = Place { file, line: 0 };
        // The sections that this file opened and has not closed.
        let mut open: Vec<Section> = Vec::new();
        for line in text.split('\n') {
            place.line = place.line.saturating_add(1);
            let line = trim(line);
            let refused = |problem: &str| syntax(problem, &place);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(rest) = line.strip_prefix("</") {
                let kind = rest
                    .strip_suffix('>')
                    .ok_or_else(|| refused("malformed section end; expected </type>"))?;
                let section = open
                    .pop()
                    .ok_or_else(|| refused("unexpected section end"))?;
                check_end(kind, &section, &place)?;
                self.section_depth -= 1;
                open.last_mut().unwrap_or(outer).sections.push(section);
            } else if let Some(rest) = line.strip_prefix('<') {
                let header = rest
                    .strip_suffix('>')
                    .ok_or_else(|| refused("malformed section start; expected <type name>"))?;
                let (section, is_empty) = section_start(header, &place)?;
                if is_empty {
                    open.last_mut().unwrap_or(outer).sections.push(section);
                    continue;
                }
                self.section_depth += 1;
                if self.section_depth > MAX_SECTION_DEPTH {
                    return Err(refused("sections are nested too deeply"));
                }
                open.push(section);
            } else if let Some(rest) = line.strip_prefix('%') {
                self.directive(rest, open.last_mut().unwrap_or(outer), &place)?;
            } else {
                let entry = self.entry(line, &place)?;
                open.last_mut().unwrap_or(outer).entries.push(entry);
            }
        }
        match open.pop() {
            None => Ok(()),
            Some(section) => Err(syntax(
                &format!("unclosed section <{}>", section.kind),
                &section.place,
            )),
        }
    }

    fn entry(&self, line: &str, place: &Place) -> Result<Entry, ConfigError> {
        let (key, value) =
            key_and_value(line).ok_or_else(|| syntax("malformed configuration data", place))?;
        Ok(Entry {
            key: key.to_owned(),
            value: self.replaced(value, place)?,
            place: place.clone(),
        })
    }

    fn directive(
        &mut self,
        text: &str,
        section: &mut Section,
        place: &Place,
    ) -> Result<(), ConfigError> {
        let (name, argument) = key_and_value(text)
            .ok_or_else(|| syntax("missing or unrecognized directive", place))?;
        if !["define", "import", "include"].contains(&name) {
            let problem =
                format!("unknown directive %{name}; expected %define, %import or %include");
            return Err(syntax(&problem, place));
        }
        if argument.is_empty() {
            return Err(syntax(&format!("missing argument to %{name}"), place));
        }
        match name {
            "define" => self.define(argument, place),
            "import" => self.import(argument, place),
            _ => self.include(argument, section, place),
        }
    }

    /// A name may be defined again, as the text that it already stands for.
    fn define(&mut self, argument: &str, place: &Place) -> Result<(), ConfigError> {
        let (name, value) = argument.split_once(is_space).unwrap_or((argument, ""));
        let name = name.to_lowercase();
        let value = trim(value);
        if self.defines.get(&name).is_some_and(|old| old != value) {
            return Err(syntax(&format!("cannot redefine {name:?}"), place));
        }
        if !is_name(&name) {
            let problem = format!(
                "not a substitution legal name: {name:?}; expected letters, digits and underscores"
            );
            return Err(syntax(&problem, place));
        }
        let value = self.replaced(value, place)?;
        self.defines.insert(name, value);
        Ok(())
    }

    fn import(&mut self, argument: &str, place: &Place) -> Result<(), ConfigError> {
        let package = self.replaced(argument, place)?;
        if self.any_package || PACKAGES.contains(&package.as_str()) {
            return Ok(());
        }
        let known = PACKAGES.join(", ");
        let problem = format!("cannot import {package:?}; the packages built in are {known}");
        Err(syntax(&problem, place))
    }

    fn include(
        &mut self,
        argument: &str,
        section: &mut Section,
        place: &Place,
    ) -> Result<(), ConfigError> {
        let argument = self.replaced(argument, place)?;
        let path =
            locate::included(&argument, &place.file).map_err(|problem| syntax(&problem, place))?;
        let failed = |source| ConfigError::Include {
            path: path.clone(),
            source,
            place: place.clone(),
        };
        let real = fs::canonicalize(&path).map_err(failed)?;
        if self.open_files.contains(&real) {
            let problem = format!("{} includes itself", path.display());
            return Err(syntax(&problem, place));
        }
        self.includes += 1;
        if self.open_files.len() > MAX_INCLUDE_DEPTH || self.includes > MAX_INCLUDES {
            return Err(syntax("too many files are included", place));
        }
        let text = read(&path).map_err(failed)?;
        self.open_files.push(real);
        self.parse_file(section, &text, Arc::from(path.as_path()))?;
        self.open_files.pop();
        Ok(())
    }

    fn replaced(&self, text: &str, place: &Place) -> Result<String, ConfigError> {
        substitute(text, &self.defines, self.env).map_err(|problem| syntax(&problem, place))
    }
}

/// Reads a section's header, what stands between `<` and `>`: the section, and whether it ends
/// at once.
fn section_start(header: &str, place: &Place) -> Result<(Section, bool), ConfigError> {
    let (text, is_empty) = match header.strip_suffix('/') {
        Some(text) => (text, true),
        None => (header, false),
    };
    let mut words = text.split(is_space).filter(|word| !word.is_empty());
    let kind = words.next().filter(|kind| text.starts_with(kind));
    let name = words.next();
    let (Some(kind), None) = (kind, words.next()) else {
        return Err(syntax(
            "malformed section header; expected <type name>",
            place,
        ));
    };
    if text.contains(['(', ')']) {
        return Err(syntax("malformed section header; no parentheses", place));
    }
    let name = name.map(str::to_lowercase);
    Ok((
        Section::new(kind.to_lowercase(), name, place.clone()),
        is_empty,
    ))
}

fn check_end(kind: &str, section: &Section, place: &Place) -> Result<(), ConfigError> {
    if kind.trim_end_matches(is_space).to_lowercase() == section.kind {
        return Ok(());
    }
    let problem = format!(
        "unbalanced section end </{kind}>; expected </{}>, opened at line {}",
        section.kind, section.place.line
    );
    Err(syntax(&problem, place))
}

/// Splits a line, already trimmed, into a key, which has neither white space nor parentheses,
/// and the rest.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c| is_space(c) || c == '(' || c == ')');
    let (key, value) = line.split_at(end.unwrap_or(line.len()));
    (!key.is_empty()).then(|| (key, trim(value)))
}

fn syntax(problem: &str, place: &Place) -> ConfigError {
    ConfigError::Syntax {
        problem: problem.to_owned(),
        place: place.clone(),
    }
}

/// Reads a whole file of UTF-8, if it is not too long.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    let length = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE_BYTES {
        let problem = format!("longer than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
