"""Style of the pages that are written without a template: `summary.html`, and that of `medseg check`."""

STYLE = """
:root { color-scheme: light dark; --line: #d5d9e0; --faint: #667085; --warn: #b54708; --bad: #b42318;
  --good: #067647; --ink: #1d2939; --card: #f8f9fb }
@media (prefers-color-scheme: dark) {
  :root { --line: #344054; --faint: #98a2b3; --warn: #fdb022; --bad: #f97066; --good: #47cd89;
    --ink: #e4e7ec; --card: #1a1f29 }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
p.facts { color: var(--faint); margin: .25rem 0 1rem }
ul.counts { display: flex; flex-wrap: wrap; gap: .75rem; padding: 0; list-style: none }
ul.counts li { border: 1px solid var(--line); border-radius: 8px; padding: .4rem .9rem }
ul.counts b { font-size: 1.3rem; margin-right: .4rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--faint); font-weight: 500 } td.number, th.number { text-align: right }
"""
