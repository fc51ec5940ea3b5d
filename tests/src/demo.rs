//! The tutorial's story, told by a real agent in a lab: a canary fails, is taken back, is
//! repaired and ramped up, while one download goes on through all of it.
//!
//! Every number is measured: what the agent's status counted is checked against what the pods
//! themselves accepted, and a step that does not go as the story says fails the demo.

pub mod cluster;
pub mod document;
pub mod files;
pub mod keep;
pub mod measure;
pub mod narrator;
pub mod rollback;
pub mod story;

pub use document::Document;
pub use narrator::Narrator;

use std::time::Instant;

use anyhow::Result;

use crate::lab::Lab;
use story::Story;

/// How the demo is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print one document instead of the story, which goes to standard error then.
    pub json: bool,
    /// Leave the lab up until interrupted.
    pub keep: bool,
}

/// Plays the story.
///
/// # Errors
///
/// If the lab cannot be made, or a step does not go as the story says.
pub fn run(options: Options) -> Result<()> {
    let begin = Instant::now();
    let narrator = Narrator::new(options.json);
    let lab = Lab::new("demo")?;
    match play(&lab, narrator, options, begin) {
        Ok(()) => Ok(()),
        Err(error) => {
            lab.show();
            Err(error)
        }
    }
}

fn play(lab: &Lab, narrator: Narrator, options: Options, begin: Instant) -> Result<()> {
    narrator.say("A node, its pods, and the agent: a lab of network namespaces.")?;
    let mut story = Story::begin(lab, narrator)?;
    story.without_entries()?;
    story.resolver()?;
    story.green_deployed()?;
    story.split()?;
    story.rollback()?;
    story.ramp()?;
    let (document, _running) = story.end()?;
    narrator.say(&format!("\nThe story took {:.1} s.", begin.elapsed().as_secs_f64()))?;
    if options.json {
        document.print()?;
    }
    if options.keep {
        return keep::wait(lab, narrator);
    }
    narrator.command("canaryctl detach --stop")?;
    narrator.quote(&lab.detach(&["--stop"])?)
}
