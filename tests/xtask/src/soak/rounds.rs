//! The lines in which a test tells of its rounds, and what they add up to.

use std::fmt::Write as _;

/// `-- ROW round R of N: …`; a round of recovery says `recovered in MS ms` after the colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// What was done.
    pub row: String,
    /// From 1.
    pub number: u32,
    /// From the blow to the next completed I/O, in milliseconds, if the test measures it.
    pub recovered_ms: Option<u32>,
}

impl Round {
    /// `None` of a line that tells something else.
    pub fn parse(line: &str) -> Option<Self> {
        let (row, rest) = line.strip_prefix("-- ")?.split_once(" round ")?;
        let (counted, said) = rest.split_once(':')?;
        let (number, of) = counted.split_once(" of ")?;
        let (number, of): (u32, u32) = (number.parse().ok()?, of.parse().ok()?);
        if row.is_empty() || number == 0 || number > of {
            return None;
        }
        let time = said.trim_start().strip_prefix("recovered in ").and_then(|rest| rest.split_once(" ms"));
        let recovered_ms = time.and_then(|(ms, _)| ms.parse().ok());
        Some(Self { row: row.to_owned(), number, recovered_ms })
    }
}

/// One row's rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    name: String,
    rounds: u64,
    /// Milliseconds, in the order of the rounds.
    times: Vec<u32>,
}

/// All rounds, by row in the order in which they were first told of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rounds {
    rows: Vec<Row>,
}

impl Rounds {
    fn row(&mut self, name: &str) -> &mut Row {
        let place = self.rows.iter().position(|row| row.name == name).unwrap_or(self.rows.len());
        if place == self.rows.len() {
            self.rows.push(Row { name: name.to_owned(), ..Row::default() });
        }
        &mut self.rows[place]
    }

    /// One more.
    pub fn take(&mut self, round: &Round) {
        let row = self.row(&round.row);
        row.rounds += 1;
        row.times.extend(round.recovered_ms);
    }

    /// Those of another guest.
    pub fn add(&mut self, other: &Self) {
        for from in &other.rows {
            let row = self.row(&from.name);
            row.rounds += from.rounds;
            row.times.extend(&from.times);
        }
    }

    /// Rounds of a row.
    pub fn count(&self, name: &str) -> u64 {
        self.rows.iter().find(|row| row.name == name).map_or(0, |row| row.rounds)
    }

    /// Rounds of all rows.
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|row| row.rounds).sum()
    }

    /// Every recovery in milliseconds, a line or more for each row.
    pub fn times(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            for (index, times) in row.times.chunks(25).enumerate() {
                let label = if index == 0 { row.name.as_str() } else { "" };
                let times: Vec<String> = times.iter().map(u32::to_string).collect();
                // Writing to a string does not fail.
                let _ = writeln!(text, "  {label:<12} {}", times.join(" "));
            }
        }
        text
    }

    /// Number of rounds; least, middle and longest recovery, for each row.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<12} {:>8} {:>10} {:>10} {:>10}   ms to recover\n",
            "row", "rounds", "least", "median", "most"
        );
        for row in &self.rows {
            let _ = write!(text, "{:<12} {:>8}", row.name, row.rounds);
            let mut times = row.times.clone();
            times.sort_unstable();
            for figure in [times.first(), times.get(times.len() / 2), times.last()] {
                let figure = figure.map_or("–".to_owned(), u32::to_string);
                let _ = write!(text, " {figure:>10}");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(row: &str, number: u32, recovered_ms: Option<u32>) -> Option<Round> {
        Some(Round { row: row.to_owned(), number, recovered_ms })
    }

    #[test]
    fn lines_of_rounds_are_understood_and_others_passed_over() {
        let line = "-- worker round 3 of 20: recovered in 310 ms (worker 77 got SIGSEGV)";
        assert_eq!(Round::parse(line), round("worker", 3, Some(310)));
        assert_eq!(Round::parse("-- a b round 1 of 1: recovered in 0 ms"), round("a b", 1, Some(0)));
        let untimed = "-- fence round 2 of 3: the other LUN went on";
        assert_eq!(Round::parse(untimed), round("fence", 2, None));
        for other in [
            "",
            "-- done",
            "worker round 1 of 2: recovered in 5 ms",
            "-- worker round 0 of 2: recovered in 5 ms",
            "-- worker round 3 of 2: recovered in 5 ms",
            "-- worker round x of 2: recovered in 5 ms",
            "-- worker round 1 of 2",
            "--  round of: it",
        ] {
            assert_eq!(Round::parse(other), None, "{other}");
        }
        assert_eq!(Round::parse("-- w round 1 of 2: recovered in -5 ms"), round("w", 1, None));
    }

    #[test]
    fn guests_add_up() {
        let mut one = Rounds::default();
        for (number, ms) in (1..).zip([30, 10, 20]) {
            one.take(&round("worker", number, Some(ms)).unwrap());
        }
        one.take(&round("fence", 1, None).unwrap());
        let mut all = one.clone();
        let mut two = Rounds::default();
        two.take(&round("worker", 1, Some(1000)).unwrap());
        all.add(&two);
        assert_eq!((all.count("worker"), all.count("fence"), all.count("none")), (4, 1, 0));
        assert_eq!(all.total(), 5);
        assert_eq!(all.times(), "  worker       30 10 20 1000\n");
        let table = all.table();
        let line = |row: &str| table.lines().find(|line| line.starts_with(row)).unwrap().split_whitespace();
        assert_eq!(line("worker").collect::<Vec<_>>(), ["worker", "4", "10", "30", "1000"]);
        assert_eq!(line("fence").collect::<Vec<_>>(), ["fence", "1", "–", "–", "–"]);
    }
}
