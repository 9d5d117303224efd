"""How the page looks: light or dark as the reader's system is, narrow or wide as the window is."""

CSS = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1c2128; --dim: #656d76; --line: #d8dee4; --soft: #f4f6f8;
  --s0: #2563c9; --s1: #c2510c; --s2: #1a7f4b; --good: #1a7f37; --bad: #c2271d; --learn: #d8f0dd; }
@media (prefers-color-scheme: dark) { :root { --bg: #12161c; --fg: #e3e8ee; --dim: #95a0ac; --line: #2f3742;
  --soft: #1a2029; --s0: #6ba5ff; --s1: #f2954f; --s2: #5fcf92; --good: #5ec97a; --bad: #ff8078; --learn: #1d4a2c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--fg); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 1.5rem clamp(.8rem, 3vw, 2rem) 4rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; padding-top: .9rem;
  border-top: 1px solid var(--line); } h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
p { margin: .4rem 0; } .dim { color: var(--dim); fill: var(--dim); }
.good { color: var(--good); } .bad { color: var(--bad); }
.status { margin: .5rem 0; padding: .6rem .8rem; border-left: 4px solid var(--s1); background: var(--soft); }
.status.complete { border-color: var(--good); } .status.failed { border-color: var(--bad); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: .4rem 0; font-size: .92rem; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--dim); white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre, .tokens { font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre, .tokens { background: var(--soft); padding: .7rem .8rem; overflow-x: auto; border-radius: 4px; margin: .4rem 0; }
.tokens, .said { white-space: pre-wrap; overflow-wrap: anywhere; } .said { min-width: 6rem; }
.learn { background: var(--learn); color: var(--fg); border-radius: 2px; }
.tokens { max-height: 22rem; overflow-y: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1rem 1.6rem; }
figure { margin: 0; } figcaption { display: flex; flex-wrap: wrap; gap: .2rem .9rem; font-size: .92rem; }
svg { display: block; width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
.grid { stroke: var(--line); } .line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.line.s0 { stroke: var(--s0); } .line.s1 { stroke: var(--s1); } .line.s2 { stroke: var(--s2); }
.dot.s0 { fill: var(--s0); } .dot.s1 { fill: var(--s1); } .dot.s2 { fill: var(--s2); }
.key::before { content: ""; display: inline-block; width: .9em; height: 3px; margin: 0 .35em .25em 0; }
.key.s0::before { background: var(--s0); } .key.s1::before { background: var(--s1); }
.key.s2::before { background: var(--s2); }
.at rect { fill: transparent; } .at .dot { opacity: 0; } .at:hover .dot { opacity: 1; }
.at:hover rect { fill: var(--line); fill-opacity: .35; }
summary { cursor: pointer; color: var(--dim); }
"""
