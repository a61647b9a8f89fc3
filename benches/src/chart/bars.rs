//! Bars in groups, one for each client: how much of something each did under each kind of load.

use std::path::Path;

use plotters::prelude::*;

use super::Chart;
use crate::peers::Error;

/// A chart of bars in groups. A bar for a figure that there is none of is left out.
#[derive(Debug)]
pub struct Bars {
    title: String,
    unit: String,
    groups: Vec<(String, Vec<(String, f64)>)>,
}

/// The size of a chart, in pixels.
const SIZE: (u32, u32) = (960, 420);

/// One for each client, told apart also by those who do not see all colours alike (Okabe and Ito's palette).
const COLOURS: [RGBColor; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(240, 228, 66),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
];

impl Bars {
    /// A chart without bars yet.
    #[must_use]
    pub fn new(title: &str, unit: &str) -> Bars {
        Bars { title: title.to_owned(), unit: unit.to_owned(), groups: Vec::new() }
    }

    /// A group of bars, each with whose it is.
    pub fn group(&mut self, name: &str, bars: Vec<(String, f64)>) {
        self.groups.push((name.to_owned(), bars));
    }

    /// Labels stand at every half; the names of the groups belong to the middles.
    fn name_in_the_middle(&self, at: f64) -> String {
        let is_middle = (at.fract() - 0.5).abs() < 0.01;
        let group = self.groups.get(at as usize).filter(|_| is_middle);
        group.map(|(name, _)| name.clone()).unwrap_or_default()
    }
}

impl Chart for Bars {
    fn title(&self) -> &str {
        &self.title
    }

    fn draw(&self, path: &Path) -> Result<(), Error> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let finite = self.groups.iter().flat_map(|(_, bars)| bars).map(|(_, figure)| *figure);
        let highest = finite.filter(|figure| figure.is_finite()).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let width = self.groups.len().max(1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..width, 0.0..highest * 1.25)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(self.groups.len() * 2 + 1)
            .x_label_formatter(&|at| self.name_in_the_middle(*at))
            .y_desc(&self.unit)
            .draw()?;
        let names = self.groups.first().map(|(_, bars)| bars.as_slice()).unwrap_or_default();
        for (series, (name, _)) in names.iter().enumerate() {
            let colour = COLOURS[series % COLOURS.len()];
            let bars = self.groups.iter().enumerate().filter_map(|(group, (_, bars))| {
                let (_, figure) = bars.get(series).filter(|(_, figure)| figure.is_finite())?;
                let (left, right) = place(group, series, names.len());
                Some(Rectangle::new([(left, 0.0), (right, *figure)], colour.filled()))
            });
            chart
                .draw_series(bars)?
                .label(name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).border_style(BLACK).draw()?;
        area.present()?;
        Ok(())
    }
}

/// Where a bar stands among those of its group.
fn place(group: usize, series: usize, of: usize) -> (f64, f64) {
    const GAP: f64 = 0.1;
    let width = (1.0 - 2.0 * GAP) / of as f64;
    let left = group as f64 + GAP + series as f64 * width;
    (left, left + width * 0.9)
}
