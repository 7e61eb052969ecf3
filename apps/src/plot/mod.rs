//! Plots: a [`scene::Scene`] becomes SVG inside the report and PNG beside it, from the same shapes.

pub mod axis;
pub mod bars;
pub mod confusion;
pub mod curves;
pub mod raster;
pub mod rational_plot;
pub mod scene;
pub mod svg;
