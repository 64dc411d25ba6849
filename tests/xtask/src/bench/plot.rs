//! The ratios as a picture: two panels for each guest, I/Os per second and CPU, with whiskers.

use super::band::Band;
use super::summary::{Row, Summary};
use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1200;
const PANEL_HEIGHT: u32 = 380;
const HEADING_HEIGHT: u32 = 84;
/// Half of a bar's width, of a case's place on the axis.
const HALF_BAR: f64 = 0.3;
const HALF_WHISKER: f64 = 0.1;
/// The longest whisker that is shown whole, as a multiple of the highest bar.
const MOST_WHISKER: f64 = 1.8;

/// Draws an SVG. `subtitle` says what it was measured on.
///
/// # Errors
/// When something cannot be drawn.
pub fn svg(subtitle: &str, summaries: &[Summary]) -> anyhow::Result<String> {
    let mut text = String::new();
    let panels = u32::try_from(summaries.len())?;
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, HEADING_HEIGHT + panels * PANEL_HEIGHT))
            .into_drawing_area();
        root.fill(&WHITE).map_err(drawing)?;
        let (heading, rest) = root.split_vertically(HEADING_HEIGHT);
        let title = ("sans-serif", 22).into_text_style(&heading);
        heading
            .draw_text("A raw file as a LUN: lunboxd over tcmu-runner", &title, (16, 12))
            .map_err(drawing)?;
        let small = ("sans-serif", 14).into_text_style(&heading);
        heading.draw_text(subtitle, &small, (16, 40)).map_err(drawing)?;
        let legend = "bars: median of the rounds; whiskers: lowest to highest; line: equal";
        heading.draw_text(legend, &small, (16, 60)).map_err(drawing)?;
        for (summary, area) in summaries.iter().zip(rest.split_evenly((summaries.len(), 1))) {
            let halves = area.split_evenly((1, 2));
            let place = format!("{} ({})", summary.name, summary.machine.kernel);
            let [left, right] = &halves[..] else { return Err(anyhow!("a panel was not halved")) };
            panel(left, &format!("{place}: I/Os per second, more is better"), BLUE, &summary.rows, |row| {
                row.ours.iops
            })?;
            panel(
                right,
                &format!("{place}: daemon CPU per I/O, less is better"),
                RED,
                &summary.rows,
                |row| row.ours.cpu,
            )?;
        }
        root.present().map_err(drawing)?;
    }
    Ok(text)
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// Bars of one ratio over all cases, with whiskers from the lowest to the highest and a line where both are equal.
fn panel(
    area: &Panel<'_>,
    title: &str,
    colour: RGBColor,
    rows: &[Row],
    ratio: impl Fn(&Row) -> Band,
) -> anyhow::Result<()> {
    // One wild round must not press all bars flat: its whisker is cut at the panel's edge.
    let of = |figure: fn(&Band) -> f64| rows.iter().map(|row| figure(&ratio(row))).fold(1.0, f64::max);
    let top = of(|band| band.high).min(of(|band| band.median) * MOST_WHISKER) * 1.1;
    let count = u32::try_from(rows.len())?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(76)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..f64::from(count), 0.0..top)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_labels(8)
        .y_desc("lunboxd / tcmu-runner")
        .y_label_formatter(&|value| format!("{value:.1}"))
        .label_style(("sans-serif", 12))
        .draw()
        .map_err(drawing)?;
    let mut centre = 0.5;
    for row in rows {
        let band = ratio(row);
        let bar = [(centre - HALF_BAR, 0.0), (centre + HALF_BAR, band.median)];
        chart.draw_series([Rectangle::new(bar, colour.mix(0.5).filled())]).map_err(drawing)?;
        let high = band.high.min(top);
        let whisker = [
            vec![(centre, band.low), (centre, high)],
            vec![(centre - HALF_WHISKER, band.low), (centre + HALF_WHISKER, band.low)],
            vec![(centre - HALF_WHISKER, high), (centre + HALF_WHISKER, high)],
        ];
        chart
            .draw_series(whisker.map(|line| PathElement::new(line, BLACK.stroke_width(1))))
            .map_err(drawing)?;
        labels(area, &chart, row, centre, band)?;
        centre += 1.0;
    }
    let equal = PathElement::new(vec![(0.0, 1.0), (f64::from(count), 1.0)], BLACK.stroke_width(2));
    chart.draw_series([equal]).map_err(drawing)?;
    Ok(())
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// The figure and its case, below a bar.
fn labels(area: &Panel<'_>, chart: &Chart<'_, '_>, row: &Row, centre: f64, band: Band) -> anyhow::Result<()> {
    let middle = Pos::new(HPos::Center, VPos::Top);
    let style = ("sans-serif", 12).into_text_style(area).pos(middle);
    // Coordinates of the chart are those of the whole picture; those of the area begin at its corner.
    let (left, top) = area.get_base_pixel();
    let (x, y) = chart.backend_coord(&(centre, 0.0));
    let load = row.case.load();
    let (size, depth) = load.split_once(", ").unwrap_or((&load, ""));
    let figure = format!("{:.2}", band.median);
    for (line, text) in (0_i32..).zip([&figure, size, depth, &row.case.store]) {
        area.draw_text(text, &style, (x - left, y - top + 6 + 15 * line)).map_err(drawing)?;
    }
    Ok(())
}
