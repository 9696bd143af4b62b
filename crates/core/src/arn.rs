//! ARNs that name an object of a Region's catalog.

use crate::policy::Side;

/// The text with every ARN of a Glue object of one side turned into that of the
/// other side. All else stays as it is, byte for byte.
///
/// The texts of views hold such ARNs in the midst of SQL.
#[must_use]
pub fn moved(text: &str, from: &Side, to: &Side) -> String {
    let here = format!(":glue:{}:{}:", from.region, from.account);
    let mut moved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&here) {
        let (head, tail) = rest.split_at(at);
        let tail = tail.get(here.len()..).unwrap_or_default();
        moved.push_str(head);
        match ends_with_partition(head) {
            true => moved.push_str(&format!(":glue:{}:{}:", to.region, to.account)),
            false => moved.push_str(&here),
        }
        rest = tail;
    }
    moved.push_str(rest);
    moved
}

/// Whether a text ends as an ARN of AWS begins: `arn:aws`, `arn:aws-cn`.
fn ends_with_partition(head: &str) -> bool {
    let Some(at) = head.rfind("arn:aws") else {
        return false;
    };
    let partition = head.get(at + "arn:aws".len()..).unwrap_or_default();
    let valid = |c: char| c.is_ascii_lowercase() || c == '-';
    partition.is_empty() || (partition.starts_with('-') && partition.chars().all(valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_arns_of_that_side_move() {
        let side = |region: &str| Side {
            region: region.to_owned(),
            account: "111122223333".to_owned(),
        };
        let (from, to) = (side("us-east-1"), side("ap-south-1"));
        let there = |text: &str| moved(text, &from, &to);
        assert_eq!(
            there("select * from arn:aws:glue:us-east-1:111122223333:table/a/b, x"),
            "select * from arn:aws:glue:ap-south-1:111122223333:table/a/b, x"
        );
        let left = [
            "arn:aws:glue:us-east-1:999999999999:table/a/b",
            "arn:aws:glue:eu-west-1:111122223333:table/a/b",
            "x:glue:us-east-1:111122223333:y",
            "us-east-1",
        ];
        for text in left {
            assert_eq!(there(text), text);
        }
        let two = "arn:aws-cn:glue:us-east-1:111122223333:table/a/b";
        assert_eq!(
            there(&format!("{two},{two}")),
            format!("{0},{0}", two.replace("us-east-1", "ap-south-1"))
        );
    }
}
