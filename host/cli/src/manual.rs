//! Manual pages, made from the command line's definition.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man as Renderer;
use serde::Serialize;

use crate::cli::{Cli, ENVIRONMENT, Man, examples};
use crate::exit::{Exit, MEANINGS};
use crate::output::{Output, print_json, print_line};

/// A page in roff.
#[derive(Serialize)]
struct Page {
    /// File name: `lunbox.1`, `lunbox-serve.1` …
    name: String,
    text: String,
}

#[derive(Serialize)]
struct Written {
    files: Vec<PathBuf>,
}

/// Prints the page of `lunbox`, or writes all pages into a directory.
///
/// # Errors
/// stdout's, or those of writing the files.
pub fn run(options: &Man, output: &Output) -> anyhow::Result<Exit> {
    let pages = pages()?;
    match &options.dir {
        Some(directory) => {
            let files = write(&pages, directory)?;
            if output.is_json() {
                print_json(&Written { files })?;
            } else {
                for file in files {
                    print_line(&file.display().to_string())?;
                }
            }
        }
        None if output.is_json() => print_json(&pages)?,
        None => print_line(pages.first().context("there is always a page")?.text.trim_end())?,
    }
    Ok(Exit::Ok)
}

fn write(pages: &[Page], directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for page in pages {
        let path = directory.join(&page.name);
        fs::write(&path, &page.text).with_context(|| {
            format!("writing {}; create the directory first, or name another with --dir", path.display())
        })?;
        files.push(path);
    }
    Ok(files)
}

/// All pages, that of `lunbox` first.
fn pages() -> anyhow::Result<Vec<Page>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![page(&command, "lunbox", "")?];
    below(&command, "", &mut pages)?;
    Ok(pages)
}

/// The pages of a command's commands, each followed by those of its own.
fn below(command: &clap::Command, above: &str, pages: &mut Vec<Page>) -> anyhow::Result<()> {
    for sub in command.get_subcommands() {
        let name = format!("{above}{}", sub.get_name());
        pages.push(page(sub, &format!("lunbox-{}", name.replace(' ', "-")), &name)?);
        below(sub, &format!("{name} "), pages)?;
    }
    Ok(())
}

fn page(command: &clap::Command, title: &str, name: &str) -> anyhow::Result<Page> {
    // The renderer has no notion of examples and statuses; it would run them into one paragraph.
    let command =
        command.clone().display_name(title.to_owned()).after_help(None::<&str>).after_long_help(None::<&str>);
    let renderer = Renderer::new(command.clone())
        .manual("Lunbox manual")
        .source(format!("lunbox {}", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    renderer.render_title(&mut text)?;
    renderer.render_name_section(&mut text)?;
    renderer.render_synopsis_section(&mut text)?;
    renderer.render_description_section(&mut text)?;
    renderer.render_options_section(&mut text)?;
    if command.has_subcommands() {
        renderer.render_subcommands_section(&mut text)?;
    }
    let mut text = String::from_utf8_lossy(&text).into_owned();
    section(&mut text, "EXAMPLES", examples(name));
    section(&mut text, "ENVIRONMENT", ENVIRONMENT.iter().copied());
    section(&mut text, "EXIT STATUS", MEANINGS.iter().copied());
    Ok(Page { name: format!("{title}.1"), text })
}

/// Plain text in roff: no line of it may be taken for a request, no backslash for an escape.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// A section that explains terms.
fn section<'a>(text: &mut String, title: &str, terms: impl Iterator<Item = (&'a str, &'a str)>) {
    // Writing into a String can not fail.
    let _ = writeln!(text, ".SH \"{title}\"");
    for (term, meaning) in terms {
        let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", roff(term), roff(meaning));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_with_all_its_options() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "lunbox.1",
                "lunbox-serve.1",
                "lunbox-inspect.1",
                "lunbox-handlers.1",
                "lunbox-status.1",
                "lunbox-device.1",
                "lunbox-device-list.1",
                "lunbox-device-show.1",
                "lunbox-device-reset.1",
                "lunbox-worker.1",
                "lunbox-worker-list.1",
                "lunbox-events.1",
                "lunbox-top.1",
                "lunbox-trace.1",
                "lunbox-doctor.1",
                "lunbox-handover.1",
                "lunbox-policy.1",
                "lunbox-policy-check.1",
                "lunbox-policy-example.1",
                "lunbox-completions.1",
                "lunbox-man.1"
            ]
        );
        for page in &pages {
            for part in [
                ".TH ",
                ".SH NAME",
                ".SH SYNOPSIS",
                "SH \"EXAMPLES\"",
                "SH \"ENVIRONMENT\"",
                "SH \"EXIT STATUS\"",
            ] {
                assert!(page.text.contains(part), "{}: {part}", page.name);
            }
        }
        let serve = &pages[1].text;
        assert!(serve.contains("Persistent reservations"), "the long description: {serve}");
        let show = pages.iter().find(|page| page.name == "lunbox-device-show.1").unwrap();
        assert!(show.text.contains("\\-\\-socket") && show.text.contains("lunbox device show user_0/disk"));
        let device = pages.iter().find(|page| page.name == "lunbox-device.1").unwrap();
        assert!(device.text.contains("lunbox\\-device\\-show(1)"), "{}", device.text);
        let command = Cli::command();
        for argument in command.find_subcommand("serve").unwrap().get_arguments() {
            if let Some(long) = argument.get_long() {
                assert!(serve.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{long}");
            }
        }
    }

    #[test]
    fn pages_are_written_where_they_were_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let files = write(&pages().unwrap(), directory.path()).unwrap();
        assert_eq!(files.len(), pages().unwrap().len());
        assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() > 200));
        let error = write(&pages().unwrap(), Path::new("/no/such/place")).unwrap_err();
        assert!(error.to_string().contains("--dir"), "{error}");
    }

    #[test]
    fn text_can_not_become_a_request() {
        assert_eq!(roff(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(roff("a\\b --x"), "a\\eb \\-\\-x");
    }
}
