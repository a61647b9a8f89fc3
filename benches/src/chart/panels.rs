//! Panels, one for each way of failing, and in each a row for every client: how long until it was back, and beside that how
//! many calls failed. Both on scales that are logarithmic, since some clients take a thousand times as long as others; so
//! every bar has its figure beside it. A client that never came back has a bar of another colour across the whole scale.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Chart;
use crate::peers::Error;

/// One client in one panel.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Whose it is.
    pub name: String,
    /// Seconds; `None` is never.
    pub seconds: Option<f64>,
    /// How many calls failed.
    pub failed: f64,
}

/// The chart. The first row of a panel is the one that the others are compared with.
#[derive(Clone, Debug)]
pub struct Panels {
    title: String,
    /// The longest time there is on the scale, in seconds: that after which a client counts as one that never comes back.
    limit: f64,
    panels: Vec<(String, Vec<Row>)>,
}

/// In pixels, as all below. Two panels stand side by side.
const WIDTH: i32 = 1_080;
const COLUMNS: i32 = 2;
const HEAD: i32 = 64;
const PANEL_HEAD: i32 = 34;
const ROW: i32 = 18;
const GAP: i32 = 14;
/// Where, from the left edge of a panel, the names end and the bars begin; and how long those are at most.
const NAMES: i32 = 186;
const TIME: i32 = 130;
const FAILED: i32 = NAMES + 8 + TIME + 60;
const COUNT: i32 = 90;

/// What is shown as nothing.
const SHORTEST: f64 = 0.001;
/// The counts go so far.
const MOST: f64 = 10_000.0;

const OURS: RGBColor = RGBColor(0, 114, 178);
const THEIRS: RGBColor = RGBColor(140, 140, 140);
const NEVER: RGBColor = RGBColor(213, 94, 0);

impl Panels {
    /// A chart without panels yet. Bars of `limit` seconds are as long as bars can be.
    #[must_use]
    pub fn new(title: &str, limit: f64) -> Panels {
        Panels { title: title.to_owned(), limit, panels: Vec::new() }
    }

    /// Adds a panel.
    pub fn panel(&mut self, name: &str, rows: Vec<Row>) {
        self.panels.push((name.to_owned(), rows));
    }

    fn panel_height(&self) -> i32 {
        let rows = self.panels.iter().map(|(_, rows)| rows.len()).max().unwrap_or_default();
        PANEL_HEAD + ROW * i32::try_from(rows).unwrap_or(i32::MAX / ROW / 2) + GAP
    }

    /// How long a bar is that stands for this time.
    fn length(&self, seconds: f64) -> i32 {
        let share = (seconds.max(SHORTEST) / SHORTEST).ln() / (self.limit / SHORTEST).ln();
        (f64::from(TIME) * share.clamp(0.0, 1.0)) as i32
    }
}

/// How long a bar is that stands for so many calls.
fn length_of_count(count: f64) -> i32 {
    let share = (1.0 + count).ln() / (1.0 + MOST).ln();
    (f64::from(COUNT) * share.clamp(0.0, 1.0)) as i32
}

impl Chart for Panels {
    fn title(&self) -> &str {
        &self.title
    }

    fn draw(&self, path: &Path) -> Result<(), Error> {
        let lines =
            i32::try_from(self.panels.len())?.max(1).div_euclid(COLUMNS) + i32::try_from(self.panels.len())? % COLUMNS;
        let size = (WIDTH.unsigned_abs(), (HEAD + lines * self.panel_height()).unsigned_abs());
        let area = SVGBackend::new(path, size).into_drawing_area();
        area.fill(&WHITE)?;
        write(&area, &self.title, (WIDTH / 2, 22), 20, HPos::Center, &BLACK)?;
        let key = format!(
            "left: seconds to recover ({SHORTEST} to {} s); right: operations that failed (0 to {MOST}); both logarithmic",
            self.limit
        );
        write(&area, &key, (WIDTH / 2, 46), 12, HPos::Center, &BLACK)?;
        for ((name, rows), place) in self.panels.iter().zip(0..) {
            let left = GAP + place % COLUMNS * (WIDTH / COLUMNS);
            let top = HEAD + place / COLUMNS * self.panel_height();
            self.draw_panel(&area, name, rows, (left, top))?;
        }
        area.present()?;
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Panels {
    fn draw_panel(&self, area: &Area<'_>, name: &str, rows: &[Row], (left, top): (i32, i32)) -> Result<(), Error> {
        write(area, name, (left, top + 12), 14, HPos::Left, &BLACK)?;
        for (row, place) in rows.iter().zip(0..) {
            let middle = top + PANEL_HEAD + place * ROW;
            let colour = if place == 0 { OURS } else { THEIRS };
            write(area, &row.name, (left + NAMES, middle), 12, HPos::Right, &BLACK)?;
            let (length, colour, figure) = match row.seconds {
                Some(seconds) => (self.length(seconds), colour, format!("{seconds:.3} s")),
                None => (TIME, NEVER, "never".to_owned()),
            };
            bar(area, (left + NAMES + 8, middle), length, colour, &figure)?;
            bar(area, (left + FAILED, middle), length_of_count(row.failed), colour, &format!("{:.0}", row.failed))?;
        }
        Ok(())
    }
}

/// A bar from here to the right, with its figure behind it.
fn bar(area: &Area<'_>, (left, middle): (i32, i32), length: i32, colour: RGBColor, figure: &str) -> Result<(), Error> {
    // One that stands for nothing is still seen.
    let right = left + length.max(1);
    area.draw(&Rectangle::new([(left, middle - 6), (right, middle + 6)], colour.filled()))?;
    write(area, figure, (right + 4, middle), 12, HPos::Left, &BLACK)
}

fn write(
    area: &Area<'_>,
    text: &str,
    place: (i32, i32),
    size: i32,
    side: HPos,
    colour: &RGBColor,
) -> Result<(), Error> {
    let style = ("sans-serif", size).into_font().color(colour).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, place, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_written_and_has_a_colour_of_its_own() {
        let row = |name: &str, seconds, failed| Row { name: name.to_owned(), seconds, failed };
        let mut panels = Panels::new("A title", 20.0);
        panels.panel("crash", vec![row("ours", Some(0.1), 1.0), row("theirs", None, 4_000.0)]);
        let path = std::env::temp_dir().join(format!("panels-test-{}.svg", std::process::id()));
        panels.draw(&path).expect("drawn");
        let drawn = std::fs::read_to_string(&path).expect("a file");
        std::fs::remove_file(&path).expect("ours");
        for part in ["A title", "crash", "ours", "theirs", "0.100 s", "never", "4000", "#D55E00", "#0072B2"] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
    }

    #[test]
    fn bars_stay_within_their_scale() {
        let panels = Panels::new("", 20.0);
        for (seconds, length) in [(0.0, 0), (0.001, 0), (20.0, TIME), (500.0, TIME)] {
            assert_eq!(panels.length(seconds), length, "{seconds}");
        }
        assert!(panels.length(0.1) < panels.length(1.0));
        assert_eq!((length_of_count(0.0), length_of_count(1e9)), (0, COUNT));
    }
}
