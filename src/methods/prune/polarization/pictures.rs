//! The method's own pictures: openness and agreement over the epochs, and the vote on each gate module.

use anyhow::Result;

use super::consensus::Consensus;
use super::gated::GatedSites;
use crate::report::plot::{Bar, Bars, Drawing, Format, draw_column, draw_each};
use crate::run::Run;

/// consensus.svg: for each module the mean of its votes, and the share of its gates that stay.
pub fn consensus(run: &Run, sites: &GatedSites, vote: &Consensus) -> Result<()> {
    let names: Vec<String> = sites.modules.iter().map(|m| m.site.trim_end_matches(".branch").to_owned()).collect();
    let share = |values: &[f64]| {
        let value = values.iter().sum::<f64>() / values.len() as f64;
        Some(Bar { value, spread: None })
    };
    let kept: Vec<f64> = vote.keep.iter().map(|&k| f64::from(u8::from(k))).collect();
    let means = sites.split(&vote.mean).into_iter().map(share).collect();
    let stay = sites.split(&kept).into_iter().map(share).collect();
    let series = [("mean vote".to_owned(), means), ("stays".to_owned(), stay)];
    let title = "The vote on each gate";
    let bars = Bars { title, axis: "share", groups: &names, series: &series, log: false };
    run.write("plots/consensus.svg", &bars.picture(Format::Svg)?)
}

/// Accuracy, loss, openness of each module and agreement over the epochs.
pub fn curves(run: &Run) -> Result<()> {
    draw_column(run, "accuracy", "eval", "test_accuracy", None)?;
    draw_column(run, "loss", "train", "loss", None)?;
    draw_each(run, "openness", "gates", "openness", "gate")?;
    for column in ["agreement", "slope", "polar", "ramp"] {
        draw_column(run, column, "gates", column, Some(("gate", "all")))?;
    }
    Ok(())
}
