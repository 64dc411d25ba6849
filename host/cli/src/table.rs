//! Tables and fields for people. What stands in them may come from strangers, and is made fit for a terminal.

use crate::output::{Output, print_line, printable};

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Prints a table: a line of heads, then the rows, each column as wide as what stands in it.
///
/// # Errors
/// stdout's.
pub fn print<const N: usize>(
    heads: [(&str, Align); N],
    rows: &[[String; N]],
    output: &Output,
) -> anyhow::Result<()> {
    for line in table(heads, rows, output.colours_stdout()) {
        print_line(&line)?;
    }
    Ok(())
}

/// The lines of a table, cut to the width of a terminal in characters.
pub fn to_width<const N: usize>(
    heads: [(&str, Align); N],
    rows: &[[String; N]],
    width: usize,
    output: &Output,
) -> Vec<String> {
    let mut lines: Vec<String> = table(heads, rows, false).iter().map(|line| cut(line, width)).collect();
    if let Some(head) = lines.first_mut().filter(|_| output.colours_stdout()) {
        // Behind the cut: what switches colours takes no room.
        *head = format!("\x1b[1m{head}\x1b[0m");
    }
    lines
}

/// The first characters of a text that is fit for a terminal, as many as it is wide.
pub fn cut(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

/// Prints fields, one to a line; a field without a name belongs to the one above it.
///
/// # Errors
/// stdout's.
pub fn print_fields(fields: &[(&str, String)], output: &Output) -> anyhow::Result<()> {
    for line in lines(fields, output.colours_stdout()) {
        print_line(&line)?;
    }
    Ok(())
}

fn table<const N: usize>(heads: [(&str, Align); N], rows: &[[String; N]], colours: bool) -> Vec<String> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| std::array::from_fn(|column| printable(&row[column]))).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].0.len()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let cell = match heads[column].1 {
                Align::Left => format!("{cell:<width$}  "),
                Align::Right => format!("{cell:>width$}  "),
            };
            line.push_str(&cell);
        }
        line.trim_end().to_owned()
    };
    let head = line(heads.map(|(head, _)| head));
    let head = if colours { format!("\x1b[1m{head}\x1b[0m") } else { head };
    let body = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    std::iter::once(head).chain(body).collect()
}

fn lines(fields: &[(&str, String)], colours: bool) -> Vec<String> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let head = format!("{name:<width$}");
        let head = if colours { format!("\x1b[1m{head}\x1b[0m") } else { head };
        format!("{head}  {}", printable(value)).trim_end().to_owned()
    };
    fields.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_strangers_can_not_break_them() {
        let rows = [
            ["a".to_owned(), "5".to_owned(), "x".to_owned()],
            ["longer \x1b[31m\n".to_owned(), "50,000".to_owned(), String::new()],
        ];
        let heads = [("NAME", Align::Left), ("N", Align::Right), ("LAST", Align::Left)];
        let lines = table(heads, &rows, false);
        assert_eq!(
            lines,
            [
                "NAME                      N  LAST",
                "a                         5  x",
                "longer \\u{1b}[31m\\n  50,000"
            ]
        );
        assert!(table(heads, &rows, true)[0].starts_with("\x1b[1mNAME"));
    }

    #[test]
    fn a_terminal_gets_no_more_than_it_is_wide() {
        let heads = [("NAME", Align::Left), ("N", Align::Right)];
        let rows = [["a-long-näme".to_owned(), "1".to_owned()]];
        let lines = to_width(heads, &rows, 9, &Output::new(true));
        assert_eq!(lines, ["NAME     ", "a-long-nä"]);
        assert_eq!(to_width(heads, &rows, 80, &Output::new(true))[1], "a-long-näme  1");
    }

    #[test]
    fn fields_line_up() {
        let fields = [("grants", "/srv/a".to_owned()), ("", "/srv/b".to_owned()), ("x", String::new())];
        assert_eq!(lines(&fields, false), ["grants  /srv/a", "        /srv/b", "x"]);
        assert_eq!(lines(&fields, true)[0], "\x1b[1mgrants\x1b[0m  /srv/a");
    }
}
