//! `lunbox handlers`: the handlers that there are.

use std::fs;
use std::path::PathBuf;

use lunbox_engine::{Catalogue, Engine, EngineOptions, Listed};
use serde::Serialize;

use crate::cli::Handlers;
use crate::exit::Exit;
use crate::output::{Output, print_json, print_line};
use crate::search;

/// A handler, as a line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    subtype: String,
    name: String,
    version: String,
    /// Bytes of the file; 0 if it has gone meanwhile.
    size: u64,
    path: PathBuf,
    config_help: String,
}

#[derive(Serialize)]
struct Refused {
    path: PathBuf,
    problem: String,
}

#[derive(Serialize)]
struct List {
    handlers: Vec<Row>,
    refused: Vec<Refused>,
}

impl From<&Listed> for Row {
    fn from(listed: &Listed) -> Self {
        let description = listed.handler.description();
        Self {
            subtype: description.subtype.clone(),
            name: description.name.clone(),
            version: description.version.clone(),
            size: fs::metadata(&listed.path).map_or(0, |metadata| metadata.len()),
            path: listed.path.clone(),
            config_help: description.config_help.clone(),
        }
    }
}

/// Prints the list.
///
/// # Errors
/// A directory that can not be read, or stdout's.
pub fn run(options: &Handlers, output: &Output) -> anyhow::Result<Exit> {
    // Without a cache: a look changes nothing.
    let engine = Engine::new(EngineOptions::default())?;
    let catalogue: Catalogue = search::catalogue(&[], &options.search.handler_path, &engine)?;
    let rows: Vec<Row> = catalogue.iter().map(Row::from).collect();
    if output.is_json() {
        let refused = catalogue.refused().iter();
        let refused =
            refused.map(|(path, error)| Refused { path: path.clone(), problem: error.to_string() }).collect();
        print_json(&List { handlers: rows, refused })?;
        return Ok(Exit::Ok);
    }
    if rows.is_empty() {
        output.note(&format!(
            "no handlers in {}; name a directory with --handler-path",
            search::places(&[], &options.search.handler_path)
        ));
        return Ok(Exit::Ok);
    }
    for line in table(&rows, output.colours_stdout()) {
        print_line(&line)?;
    }
    Ok(Exit::Ok)
}

/// Columns as wide as what stands in them.
fn table(rows: &[Row], colours: bool) -> Vec<String> {
    let heads = ["SUBTYPE", "NAME", "VERSION", "SIZE", "FILE"].map(str::to_owned);
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            [
                row.subtype.clone(),
                row.name.clone(),
                row.version.clone(),
                row.size.to_string(),
                row.path.display().to_string(),
            ]
        })
        .collect();
    let width = |column: usize| {
        let all = std::iter::once(&heads).chain(&cells);
        all.map(|line| line[column].chars().count()).max().unwrap_or(0)
    };
    let (subtype, name, version, size) = (width(0), width(1), width(2), width(3));
    let line =
        |[a, b, c, d, e]: &[String; 5]| format!("{a:<subtype$}  {b:<name$}  {c:<version$}  {d:>size$}  {e}");
    let head = if colours { format!("\x1b[1m{}\x1b[0m", line(&heads)) } else { line(&heads) };
    std::iter::once(head).chain(cells.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            subtype: "file".to_owned(),
            name: "Files and block devices".to_owned(),
            version: "0.1.0".to_owned(),
            size: 32_000,
            path: "/usr/lib/lunbox/handlers/handler_file.wasm".into(),
            config_help: "a path".to_owned(),
        }
    }

    #[test]
    fn columns_line_up() {
        let lines = table(&[row(), Row { subtype: "much_longer".to_owned(), ..row() }], false);
        assert_eq!(lines.len(), 3);
        for word in ["0.1.0", "/usr/lib"] {
            assert_eq!(lines[1].find(word), lines[2].find(word));
        }
        assert_eq!(lines[0].find("FILE"), lines[1].find("/usr/lib"));
        assert!(!lines[0].contains('\x1b') && table(&[row()], true)[0].contains('\x1b'));
    }

    #[test]
    fn the_shape_of_json() {
        let list = List {
            handlers: vec![row()],
            refused: vec![Refused { path: "/x/handler_a.wasm".into(), problem: "broken".to_owned() }],
        };
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["handlers"][0]["subtype"], "file");
        assert_eq!(json["handlers"][0]["size"], 32_000);
        assert_eq!(json["handlers"][0]["config_help"], "a path");
        assert_eq!(json["refused"][0]["problem"], "broken");
    }
}
