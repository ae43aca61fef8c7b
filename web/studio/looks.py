"""Colors, fonts and sizes of the page. Fonts are those of the visitor's system, so that nothing is fetched."""

from pathlib import Path

import gradio as gr

TITLE = "Fast style transfer: studio"
FONTS = ("system-ui", "sans-serif")
MONO_FONTS = ("ui-monospace", "monospace")

CSS = """
.gradio-container {width: 100% !important; max-width: 1180px !important; margin: 0 auto !important;}
#styles .grid-wrap {height: auto !important; max-height: 400px !important;}
:focus-visible {outline: 3px solid #1d4ed8 !important; outline-offset: 2px !important;}
.dark :focus-visible {outline-color: #93c5fd !important;}
#styles .caption-label, #sheet .caption-label {
  font-size: 0.72rem; line-height: 1.15; white-space: normal; overflow-wrap: anywhere; max-width: 94%;
  max-height: 3em; overflow: hidden; bottom: 0; right: 0; padding: 2px 6px;
}
input[role="listbox"], .wrap-inner input {text-overflow: ellipsis; padding-right: 1.6rem !important;}
#sheet .grid-wrap, #train-previews .grid-wrap {height: auto !important; max-height: none !important;}
#train-plot, #slow-plot {overflow: visible !important; padding-bottom: 2.2rem;}
#train-previews .thumbnail-item {aspect-ratio: auto; height: auto;}
.quiet {color: var(--body-text-color-subdued); font-size: 0.92rem;}
#live-view, #live-view > div {padding: 0 !important;}
#live-view img {width: 100%; border-radius: 6px; display: block;}
#live-view .empty {
  aspect-ratio: 4 / 3; display: flex; align-items: center; justify-content: center; text-align: center;
  border: 1px dashed var(--border-color-primary); border-radius: 6px; padding: 1rem;
  color: var(--body-text-color-subdued);
}
@media (max-width: 640px) {
  .gradio-container {padding: 8px !important;}
  main, .main {padding: 8px !important;}
  #styles .grid-container {grid-template-columns: repeat(3, minmax(0, 1fr)) !important;}
  #sheet .grid-container {grid-template-columns: repeat(2, minmax(0, 1fr)) !important;}
  #styles .grid-wrap {max-height: 500px !important;}
  button.lg {padding-left: 6px; padding-right: 6px; font-size: 0.95rem;}
  .thumbnail-item {min-width: 0 !important; width: 100% !important;}
}
@media (prefers-reduced-motion: reduce) {* {animation-duration: 0.01s !important; transition: none !important;}}
"""


def head() -> str:
    """The script of the page."""
    return f"<script>{Path(__file__).with_name('access.js').read_text(encoding='utf-8')}</script>"


def theme() -> gr.Theme:
    return gr.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=list(FONTS), font_mono=list(MONO_FONTS)
    )
