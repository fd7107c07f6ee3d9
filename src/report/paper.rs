//! The paper's numbers beside ours.

use super::claims::PaperClaim;
use super::group::Group;
use super::statistics::{beside, precise};

pub struct PaperRow {
    pub id: String,
    pub setting: String,
    pub metric: String,
    pub paper: String,
    pub baseline: String,
    /// Our means with standard deviations in the paper's order and unit; `-` where there is no run; empty where the claim
    /// names none.
    pub ours: String,
}

pub fn paper_rows(claims: &[PaperClaim], groups: &[Group]) -> Vec<PaperRow> {
    let row = |claim: &PaperClaim| PaperRow {
        id: claim.id.clone(),
        setting: claim.setting.clone(),
        metric: claim.metric.clone(),
        paper: claim.paper.clone(),
        baseline: claim.baseline.clone(),
        ours: ours(claim, groups),
    };
    claims.iter().map(row).collect()
}

fn ours(claim: &PaperClaim, groups: &[Group]) -> String {
    let Some(ours) = &claim.ours else { return String::new() };
    let number = |(arm, metric): (&String, &str)| {
        let group = groups.iter().find(|g| g.preset == ours.preset && g.arm == arm);
        let sample = group.map(|g| g.sample(metric)).filter(|sample| sample.n() > 0)?;
        let mean = ours.scale * sample.mean();
        Some(match sample.std().map(|std| ours.scale * std).filter(|std| *std > 0.0) {
            Some(std) => format!("{} ± {} (n = {})", beside(mean, std), beside(std, std), sample.n()),
            None => precise(mean),
        })
    };
    let wanted = ours.arms.iter().flat_map(|arm| ours.metric.split(' ').map(move |metric| (arm, metric)));
    let numbers: Vec<Option<String>> = wanted.map(number).collect();
    if numbers.iter().all(Option::is_none) {
        return format!("no run of preset {}", ours.preset);
    }
    numbers.into_iter().map(|n| n.unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join(" / ")
}
