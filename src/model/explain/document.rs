//! `explanation.json`: what a method needs that the graph does not carry. In: text and the manifest's method. Out: a
//! checked [`Source`], or a sentence that names the key.

use serde::Deserialize;

use super::Method;

/// What the package brings for its method.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) enum Source {
    /// Covers by tree id and node id.
    Tree { covers: Vec<Vec<f64>> },
    /// A weight and a mean a feature, in raw units, and the intercept, log-odds.
    Linear { weights: Vec<f64>, means: Vec<f64>, intercept: f64 },
    /// Nothing but the medians of `baseline.json`.
    Permutation,
}

#[derive(Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
enum Document {
    TreeShap { covers: Vec<Vec<f64>> },
    LinearShap { weights: Vec<f64>, means: Vec<f64>, intercept: f64 },
}

impl Source {
    /// Reads the document of a model of `width` features whose manifest names `method`.
    pub(in crate::model) fn parse(text: &str, method: Method, width: usize) -> Result<Self, String> {
        let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match (document, method) {
            (Document::TreeShap { covers }, Method::TreeShap) => Ok(Self::Tree { covers }),
            (Document::LinearShap { weights, means, intercept }, Method::LinearShap) => {
                for (key, values) in [("weights", &weights), ("means", &means)] {
                    if values.len() != width {
                        return Err(format!("{key} has {} values for {width} features", values.len()));
                    }
                }
                Ok(Self::Linear { weights, means, intercept })
            }
            _ => Err(format!("method is not {:?}, as manifest.toml says", method.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_and_faults_name_their_key() {
        let tree = r#"{"method": "tree_shap", "covers": [[3, 1.5, 1.5]]}"#;
        let linear = r#"{"method": "linear_shap", "weights": [1, -2], "means": [0, 0.5], "intercept": 0.25}"#;
        let covers = vec![vec![3.0, 1.5, 1.5]];
        assert_eq!(Source::parse(tree, Method::TreeShap, 2), Ok(Source::Tree { covers }));
        assert!(matches!(Source::parse(linear, Method::LinearShap, 2), Ok(Source::Linear { .. })));
        for (text, method, width, key) in [
            (tree, Method::LinearShap, 2, "linear_shap"),
            (linear, Method::TreeShap, 2, "tree_shap"),
            (linear, Method::LinearShap, 3, "weights"),
            (&linear.replace("[0, 0.5]", "[0]"), Method::LinearShap, 2, "means"),
            (&linear.replace("means", "meens"), Method::LinearShap, 2, "meens"),
            (&tree.replace("[3,", "[null,"), Method::TreeShap, 2, "null"),
            (&tree.replace("tree_shap", "guess"), Method::TreeShap, 2, "guess"),
        ] {
            let fault = Source::parse(text, method, width).unwrap_err();
            assert!(fault.contains(key), "{key}: {fault}");
        }
    }
}
