//! Reports and plots of a tree of runs, as a user asks for them.

#[path = "common/scratch.rs"]
mod scratch;

use scratch::Scratch;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Two arms of `prune wgsef` with four seeds each.
fn tree(root: &Path) {
    for (arm, gain) in [("magnitude", 0.0), ("wgsef", 0.1)] {
        for seed in 0..4 {
            let folder = root.join(format!("results/prune/wgsef/{arm}-quick-s{seed}"));
            fs::create_dir_all(folder.join("plots")).unwrap();
            let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
            let record = json!({"method": "wgsef", "preset": "quick", "arm": arm, "seed": seed, "status": "done"});
            write("run.json", record.to_string());
            let accuracy = 0.8 + gain + 0.01 * f64::from(seed * seed % 5);
            write(
                "summary.json",
                json!({"accuracy": accuracy, "macs_ratio": 0.5 - gain, "loss_trained": gain}).to_string(),
            );
            write("config.toml", format!("arm = \"{arm}\"\nseed = {seed}\n[method]\nname = \"wgsef\"\nlambda = 0.4\n"));
            let row = |epoch: i32| format!("{epoch},{epoch}.0,0.1,{}\n", accuracy / f64::from(1 + seed + epoch));
            write("train.csv", format!("step,epoch,time_s,loss\n{}{}{}", row(1), row(2), row(3)));
            write("prune.csv", "step,epoch,time_s,layer,sparsity\n3,3.0,0.1,fc1,0.9\n3,3.0,0.1,fc2,0.5\n".into());
            write("plots/own.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 9 9\"/>".into());
        }
    }
}

#[test]
fn every_format_says_the_same_and_again_the_same() {
    let scratch = Scratch::new();
    tree(scratch.path());
    let report = |more: &[&str]| {
        scratch.succeed(&[&["report", "results", "--metric", "accuracy", "--baseline", "magnitude"], more].concat())
    };
    let terminal = report(&[]);
    assert!(terminal.contains("| quick  | wgsef     | 4 | 0.922 ± 0.021 * |"), "{terminal}");
    assert!(terminal.contains("| quick  | wgsef | 4 | +0.1000 [0.1000, 0.1000] |"), "{terminal}");
    assert_eq!(terminal, report(&[]));
    assert!(report(&["--format", "markdown"]).contains("| quick  | wgsef     | 4   | **0.9"));
    assert!(report(&["--format", "latex"]).contains("\\textbf{0.9"));
    let csv = report(&["--format", "csv"]);
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let json: serde_json::Value = serde_json::from_str(&report(&["--format", "json"])).unwrap();
    let better = &json["results"][1];
    assert!((better["difference"].as_f64().unwrap() - 0.1).abs() < 1e-9 && better["significant"] == true, "{better}");
}

#[test]
fn plots_of_every_kind() {
    let scratch = Scratch::new();
    tree(scratch.path());
    let plot = |more: &[&str]| scratch.succeed(&[&["plot", "results"], more].concat());
    let names = ["line.svg", "line.png", "runs.svg", "bars.svg", "layers.svg", "scatter.svg", "heat.svg", "fields.svg"];
    plot(&["-x", "epoch", "-y", "loss", "--log-y", "-o", names[0]]);
    plot(&["-x", "epoch", "-o", names[1]]);
    plot(&["--by", "run", "-o", names[2]]);
    plot(&["--kind", "bar", "-y", "accuracy,macs_ratio", "--band", "sem", "-o", names[3]]);
    plot(&["--kind", "bar", "--table", "prune", "-x", "layer", "-y", "sparsity", "-o", names[4]]);
    plot(&["--kind", "scatter", "-x", "macs_ratio", "-y", "accuracy", "--log-x", "-o", names[5]]);
    plot(&["--kind", "heat", "--table", "train", "-x", "epoch", "-y", "lo*", "-o", names[6]]);
    plot(&["-x", "method.lambda", "-y", "accuracy", "-o", names[7]]);
    for name in names {
        assert!(fs::metadata(scratch.path().join(name)).unwrap().len() > 1000, "{name}");
    }
    let layers = fs::read_to_string(scratch.path().join("layers.svg")).unwrap();
    assert!(["fc1", "fc2", "magnitude", "wgsef"].iter().all(|word| layers.contains(&format!("\n{word}\n"))));
    assert_eq!(fs::read_to_string(scratch.path().join("runs.svg")).unwrap().matches("-quick-s").count(), 8);
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let scratch = Scratch::new();
    tree(scratch.path());
    for (args, needle) in [
        (&["report", "results", "--metric", "acuracy"][..], "did you mean accuracy?"),
        (&["report", "results", "--baseline", "magnitud"], "did you mean magnitude?"),
        (&["report", "src"], "cannot read src"),
        (&["plot", "results", "-y", "los"], "did you mean loss?"),
        (&["plot", "results", "--table", "trian"], "did you mean train?"),
        (&["plot", "results", "-o", "fig.pdf"], "should end in .svg or .png"),
        (&["plot", "results", "--by", "method.lamda"], "did you mean method.lambda?"),
        (&["plot", "results", "--kind", "scatter", "-x", "macs", "-y", "accuracy"], "macs is neither"),
        (&["plot", "results", "--only", "fc1"], "not of the form COLUMN=VALUE"),
    ] {
        let output = scratch.reglab(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(needle), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// Opens the page in headless Chromium without network, clicks a column's head twice, and looks at what became of it.
#[test]
fn the_page_works_in_a_browser() {
    let scratch = Scratch::new();
    tree(scratch.path());
    scratch.succeed(&["report", "results", "--format", "html", "--baseline", "magnitude", "-o", "page.html"]);
    let page = fs::read_to_string(scratch.path().join("page.html")).unwrap();
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http") && !page.contains("@import"));
    assert!(page.matches("<svg").count() >= 3 && page.contains("<details>"));
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()))
    else {
        println!("skipped: there is no Chromium on this machine");
        return;
    };
    let probe = "<script>
        addEventListener('error', event => document.body.dataset.broken = event.message);
        addEventListener('load', () => {
          const table = document.querySelector('table');
          const head = [...table.querySelectorAll('th')].find(th => th.textContent === 'accuracy');
          const first = () => table.tBodies[0].rows[0].cells[1].textContent;
          head.firstChild.click();
          const up = first();
          head.firstChild.click();
          document.body.dataset.sorted = up + ' then ' + first();
          document.body.dataset.fetched = performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length;
        });
      </script></head>";
    fs::write(scratch.path().join("probed.html"), page.replace("</head>", probe)).unwrap();
    let url = format!("file://{}", scratch.path().join("probed.html").display());
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=3000"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .arg(format!("--user-data-dir={}", scratch.path().join("profile").display()))
        .args(["--dump-dom", &url])
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let console: Vec<&str> = log.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    assert!(dom.contains("data-sorted=\"magnitude then wgsef\""), "{}", &dom[dom.find("<body").unwrap_or(0)..][..300]);
    assert!(!dom.contains("data-broken") && dom.contains("data-fetched=\"0\""));
}
