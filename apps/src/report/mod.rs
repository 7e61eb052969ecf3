//! What a run leaves for people: metric records, TensorBoard events, progress on the terminal, plots and
//! report.html.
//!
//! A plot is a [`scene::Scene`]; it becomes SVG inside the report and PNG beside it, from the same shapes.

pub mod about;
pub mod axis;
pub mod bars;
pub mod confusion;
pub mod curves;
pub mod html;
pub mod metrics_log;
pub mod progress;
pub mod raster;
pub mod rational_plot;
pub mod scene;
pub mod svg;
pub mod tensorboard;
pub mod thumbnails;
