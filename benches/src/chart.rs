//! The charts of the report, drawn as SVG.

mod bars;
mod panels;

use std::path::Path;

pub use bars::Bars;
pub use panels::{Panels, Row};

use crate::peers::Error;

/// What a section can show.
pub trait Chart {
    /// What stands above it, and in its place where pictures are not shown.
    fn title(&self) -> &str;

    /// Draws it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    fn draw(&self, path: &Path) -> Result<(), Error>;
}
