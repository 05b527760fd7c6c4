use crate::support::{meridian, top};

/// The lines of a help text that show how to call the program.
fn examples(help: &str) -> Vec<String> {
    help.lines()
        .map(str::trim)
        .filter(|line| line.contains("meridian ") && !line.starts_with("Usage:"))
        .map(str::to_owned)
        .collect()
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|word| *word != "help" && word.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_command_has_an_example_whose_files_exist() {
    let mut open = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = open.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = meridian(&arguments).await.ok();
        for subcommand in subcommands(&help) {
            let mut deeper = command.clone();
            deeper.push(subcommand);
            open.push(deeper);
        }
        let examples = examples(&help);
        assert!(!examples.is_empty(), "no example for {command:?}:\n{help}");
        for example in &examples {
            let named = example
                .split_whitespace()
                .filter(|w| w.starts_with("examples/"));
            for file in named {
                assert!(top().join(file).exists(), "{command:?}: {example}");
            }
        }
        seen += 1;
    }
    assert!(seen > 15, "only {seen} commands were found");
}
