"""The paper-size run: people, runs, results, answers, page."""
