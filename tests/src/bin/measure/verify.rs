//! What each program costs the verifier, against its budget.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use aya::{
    EbpfLoader,
    programs::{Program, ProgramInfo},
};
use canary_tests::bpffs;
use canary_userspace::kernel::program::load_program;
use nix::sys::utsname::uname;

/// Which object, which budgets.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The BPF object
    #[arg(long)]
    object: PathBuf,
    /// Lines of a program's name and the instructions it may cost
    #[arg(long)]
    budgets: PathBuf,
    /// Write the budgets instead of comparing
    #[arg(long)]
    bless: bool,
}

/// Instructions by program.
type Costs = BTreeMap<String, u32>;

/// Compares, or blesses.
pub(crate) fn run(options: &Options) -> Result<()> {
    let costs = measure(&options.object)?;
    if options.bless {
        print(&costs, &costs);
        let text = format_budgets(&costs)?;
        return fs::write(&options.budgets, text)
            .with_context(|| format!("write {}", options.budgets.display()));
    }
    let text = fs::read_to_string(&options.budgets).with_context(|| {
        format!("read {}; `cargo xtask verify --bless` writes it", options.budgets.display())
    })?;
    let budgets = parse_budgets(&text).with_context(|| options.budgets.display().to_string())?;
    print(&costs, &budgets);
    compare(&costs, &budgets)
}

#[expect(clippy::print_stdout, reason = "the table is this program's result")]
fn print(costs: &Costs, budgets: &Costs) {
    println!("{:<24} {:>12} {:>12}", "program", "instructions", "budget");
    for (program, cost) in costs {
        let budget = budgets.get(program).map_or_else(|| "none".to_owned(), u32::to_string);
        println!("{program:<24} {cost:>12} {budget:>12}");
    }
}

/// Instructions that the verifier walked to prove each program safe.
fn measure(object: &Path) -> Result<Costs> {
    let mut object = EbpfLoader::new()
        .default_map_pin_directory(bpffs::private()?)
        .load_file(object)
        .with_context(|| format!("load {}", object.display()))?;
    let mut costs = Costs::new();
    for (name, program) in object.programs_mut() {
        let info = load(program).with_context(|| format!("verify {name}"))?;
        let cost = info.verified_instruction_count();
        costs.insert(name.to_owned(), cost.context("the count needs Linux 5.16 or later")?);
    }
    ensure!(!costs.is_empty(), "the object holds no program");
    Ok(costs)
}

fn load(program: &mut Program) -> Result<ProgramInfo> {
    load_program(program)?;
    Ok(program.info()?)
}

fn format_budgets(costs: &Costs) -> Result<String> {
    let kernel = uname().context("ask for the kernel's release")?;
    let kernel = kernel.release().to_string_lossy();
    let kernel = kernel.split('.').take(2).collect::<Vec<_>>().join(".");
    let mut text = format!("# Verified instructions, as Linux {kernel} counts them.\n");
    for (program, cost) in costs {
        writeln!(text, "{program} {cost}")?;
    }
    Ok(text)
}

fn parse_budgets(text: &str) -> Result<Costs> {
    let lines = text.lines().zip(1..).filter(|(line, _)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    lines
        .map(|(line, number)| {
            let (program, cost) = line
                .split_once(' ')
                .with_context(|| format!("line {number}: a program and a number are wanted"))?;
            let cost = cost.trim().parse();
            Ok((program.to_owned(), cost.with_context(|| format!("line {number}: not a number"))?))
        })
        .collect()
}

/// Refuses a program over its budget, one without, and a budget without a program.
fn compare(costs: &Costs, budgets: &Costs) -> Result<()> {
    for (program, cost) in costs {
        let budget = budgets.get(program).copied().unwrap_or(0);
        ensure!(
            *cost <= budget,
            "{program} costs the verifier {cost} instructions, over its budget of {budget}; \
             if that is worth it, run `cargo xtask verify --bless` and say why in the commit"
        );
    }
    if let Some(program) = budgets.keys().find(|program| !costs.contains_key(*program)) {
        bail!("{program} has a budget and is not in the object; run `cargo xtask verify --bless`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(pairs: &[(&str, u32)]) -> Costs {
        pairs.iter().map(|&(program, cost)| (program.to_owned(), cost)).collect()
    }

    #[test]
    fn what_is_blessed_is_read_again() {
        let blessed = costs(&[("from_pod", 1200), ("to_pod", 300)]);

        let text = format_budgets(&blessed).unwrap();

        assert_eq!(parse_budgets(&text).unwrap(), blessed);
        assert!(compare(&blessed, &blessed).is_ok());
    }

    #[test]
    fn a_program_over_its_budget_is_named_with_both_numbers() {
        let error = compare(&costs(&[("to_pod", 301)]), &costs(&[("to_pod", 300)])).unwrap_err();

        assert!(
            error.to_string().starts_with(
                "to_pod costs the verifier 301 instructions, over its budget of 300; "
            )
        );
    }

    #[test]
    fn programs_and_budgets_must_be_the_same_set() {
        let one = costs(&[("to_pod", 300)]);
        let two = costs(&[("from_pod", 1), ("to_pod", 300)]);

        assert!(compare(&two, &one).unwrap_err().to_string().contains("budget of 0"));
        assert!(compare(&one, &two).unwrap_err().to_string().starts_with("from_pod has a budget"));
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = parse_budgets("# head\n\nto_pod many\n").unwrap_err();

        assert_eq!(error.to_string(), "line 3: not a number");
    }
}
