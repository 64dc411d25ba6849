//! What the neighbour's latency was beside each offender, as a picture.

use super::band::Band;
use anyhow::{Context, anyhow, ensure};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Deserialize;

const WIDTH: u32 = 1200;
const HEADING_HEIGHT: u32 = 84;
/// Of a panel, beside its rows.
const FRAME_HEIGHT: u32 = 80;
const ROW_HEIGHT: u32 = 22;
/// Room for the names of the rows.
const NAMES_WIDTH: u32 = 190;

/// The row that tells how far apart equal things are found.
const CONTROL: &str = "quiet again";
/// The row that all others are compared with.
const BASE: &str = "quiet";

/// What lunbox-bench writes.
#[derive(Debug, Deserialize)]
struct Found {
    neighbours: Vec<Row>,
}

/// The neighbour at one depth beside one offender.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    depth: u32,
    name: String,
    median_ratio: Band,
    p99_ratio: Band,
}

/// Draws an SVG of the JSON that lunbox-bench wrote. `subtitle` says what it was measured on.
///
/// # Errors
/// When the JSON is another's or something cannot be drawn.
pub fn svg(subtitle: &str, json: &str) -> anyhow::Result<String> {
    let found: Found = serde_json::from_str(json).context("results of lunbox-bench")?;
    let mut depths: Vec<u32> = found.neighbours.iter().map(|row| row.depth).collect();
    depths.dedup();
    let panels: Vec<Vec<Row>> = depths
        .iter()
        .map(|depth| {
            found.neighbours.iter().filter(|row| row.depth == *depth && row.name != BASE).cloned().collect()
        })
        .collect();
    let rows = panels.iter().map(Vec::len).max().unwrap_or(0);
    ensure!(rows > 0, "results of lunbox-bench: no rows");
    let height = HEADING_HEIGHT + FRAME_HEIGHT + ROW_HEIGHT * u32::try_from(rows)?;

    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE).map_err(drawing)?;
        let (heading, rest) = root.split_vertically(HEADING_HEIGHT);
        let title = ("sans-serif", 22).into_text_style(&heading);
        heading
            .draw_text("Latency of a LUN beside LUNs whose handlers misbehave", &title, (16, 12))
            .map_err(drawing)?;
        let small = ("sans-serif", 14).into_text_style(&heading);
        heading.draw_text(subtitle, &small, (16, 40)).map_err(drawing)?;
        let legend = "over the same LUN with nobody beside it: blue the median, red the 99th percentile; median of the \
                      rounds, lowest to highest; grey: spread of the red one with nobody beside it";
        heading.draw_text(legend, &small, (16, 60)).map_err(drawing)?;
        let areas = rest.split_evenly((1, panels.len()));
        for ((depth, rows), area) in depths.iter().zip(&panels).zip(&areas) {
            panel(area, &format!("4 KiB read, QD{depth}"), rows)?;
        }
        root.present().map_err(drawing)?;
    }
    Ok(text)
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// One depth: a line for each offender, the ratios on a logarithmic axis.
fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, title: &str, rows: &[Row]) -> anyhow::Result<()> {
    let bands = || rows.iter().flat_map(|row| [row.median_ratio, row.p99_ratio]);
    let low = bands().map(|band| band.low).fold(0.5, f64::min) * 0.9;
    let high = bands().map(|band| band.high).fold(2.0, f64::max) * 1.1;
    ensure!(low > 0.0 && high.is_finite(), "results of lunbox-bench: a ratio is no positive number");
    let count = f64::from(u32::try_from(rows.len())?);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(26)
        .y_label_area_size(NAMES_WIDTH)
        .build_cartesian_2d((low..high).log_scale(), 0.0..count)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_label_formatter(&|value| format!("{value}"))
        .label_style(("sans-serif", 12))
        .draw()
        .map_err(drawing)?;
    if let Some(control) = rows.iter().find(|row| row.name == CONTROL) {
        let spread = [(control.p99_ratio.low, 0.0), (control.p99_ratio.high, count)];
        chart.draw_series([Rectangle::new(spread, BLACK.mix(0.1).filled())]).map_err(drawing)?;
    }
    let equal = PathElement::new(vec![(1.0, 0.0), (1.0, count)], BLACK.stroke_width(1));
    chart.draw_series([equal]).map_err(drawing)?;
    let style = ("sans-serif", 12).into_text_style(area).pos(Pos::new(HPos::Right, VPos::Center));
    // Coordinates of the chart are those of the whole picture; those of the area begin at its corner.
    let (left, top) = area.get_base_pixel();
    let mut y = count - 0.5;
    for row in rows {
        for (band, colour, y) in [(row.median_ratio, BLUE, y + 0.17), (row.p99_ratio, RED, y - 0.17)] {
            let line = PathElement::new(vec![(band.low, y), (band.high, y)], colour.stroke_width(1));
            chart.draw_series([line]).map_err(drawing)?;
            chart.draw_series([Circle::new((band.median, y), 3, colour.filled())]).map_err(drawing)?;
        }
        let (edge, line) = chart.backend_coord(&(low, y));
        area.draw_text(&row.name, &style, (edge - left - 8, line - top)).map_err(drawing)?;
        y -= 1.0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(depth: u32, name: &str, p99: f64) -> serde_json::Value {
        let band =
            |median: f64| serde_json::json!({"median": median, "low": median * 0.9, "high": median * 1.3});
        serde_json::json!({"depth": depth, "name": name, "median_ratio": band(1.0), "p99_ratio": band(p99)})
    }

    #[test]
    fn every_offender_is_named_in_each_panel() {
        let rows: Vec<_> = [1, 32]
            .iter()
            .flat_map(|&depth| {
                [row(depth, "quiet", 1.0), row(depth, "quiet again", 1.1), row(depth, "loop", 40.0)]
            })
            .collect();
        let json = serde_json::json!({"neighbours": rows, "recoveries": []}).to_string();
        let text = svg("measured on X", &json).unwrap();
        assert!(text.starts_with("<svg") && text.contains("measured on X"));
        assert_eq!(text.matches("loop\n").count(), 2, "{text}");
        assert!(text.contains("QD1\n") && text.contains("QD32\n"));
    }

    #[test]
    fn results_of_something_else_are_refused() {
        for json in ["", "{}", r#"{"neighbours": []}"#] {
            assert!(format!("{:#}", svg("x", json).unwrap_err()).contains("lunbox-bench"), "{json}");
        }
        let zero = serde_json::json!({"neighbours": [row(1, "loop", 0.0)]}).to_string();
        assert!(svg("x", &zero).unwrap_err().to_string().contains("positive"));
    }
}
