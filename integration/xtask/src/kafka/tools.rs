//! Kafka's own command-line tools, for people: create topics, write to them, read them.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use super::{KafkaLibraries, VERSION};
use crate::error::{Error, Result};

/// Names as in Kafka's `bin` directory, and the Java classes behind them.
const TOOLS: [(&str, &str); 5] = [
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
];

/// A tool with these arguments, ready to be run. Fetches the tools when they are used for the first time.
pub fn tool(name: &str, arguments: &[OsString]) -> Result<Command> {
    let class = class(name)?;
    let libraries = KafkaLibraries::of_tools(VERSION)?;
    // A tool runs for seconds: it is not worth compiling much of it.
    let mut java = libraries.java(Command::new("java"), &["-XX:TieredStopAtLevel=1"]);
    java.arg(class).args(arguments).stdin(Stdio::inherit());
    Ok(java)
}

fn class(name: &str) -> Result<&'static str> {
    let found = TOOLS.iter().find(|(known, _)| *known == name.trim_end_matches(".sh"));
    found.map(|(_, class)| *class).ok_or_else(|| {
        let known = TOOLS.map(|(known, _)| known).join(", ");
        Error::Missing(format!("{name} is not one of the tools: {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_have_the_names_of_kafkas_scripts() {
        assert_eq!(class("kafka-topics").unwrap(), class("kafka-topics.sh").unwrap());
        assert!(
            class("kafka-topic").unwrap_err().to_string().contains("kafka-topics, kafka-console-producer")
        );
    }
}
