"""Theme and style sheet: system fonts, nothing from elsewhere."""

import gradio as gr

SYSTEM = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")]
MONOSPACE = [gr.themes.Font(name) for name in ("ui-monospace", "Menlo", "Consolas", "monospace")]

THEME = gr.themes.Default(
    primary_hue=gr.themes.colors.teal,
    secondary_hue=gr.themes.colors.teal,
    neutral_hue=gr.themes.colors.gray,
    radius_size=gr.themes.sizes.radius_md,
    font=SYSTEM,
    font_mono=MONOSPACE,
).set(
    body_background_fill="#f8fafc",
    button_primary_background_fill="#0f766e",
    button_primary_background_fill_hover="#115e59",
    button_primary_text_color="white",
    block_label_text_color="#374151",
    block_shadow="none",
    body_text_color_subdued="#4b5563",
    block_info_text_color="#4b5563",
    slider_color="#0f766e",
    color_accent="#0f766e",
    checkbox_background_color_selected="#0f766e",
    checkbox_border_color_selected="#0f766e",
)

CSS = """
.gradio-container { width: 100%; max-width: 1240px !important; margin: 0 auto !important;
  padding: clamp(12px, 2.5vw, 24px) clamp(12px, 2.5vw, 24px) 8px !important; }
.gradio-container .main { padding: 0 !important; max-width: 100%; min-width: 0; }
.gradio-container .column { min-width: 0; max-width: 100%; }
.gradio-container main { padding: 0 !important; }
.gradio-container .html-container { padding: 0 !important; }
footer .divider { display: none !important; }
#head h1 { font-size: clamp(1.4rem, 4vw, 1.75rem); font-weight: 700; letter-spacing: -0.02em; margin: 0 0 2px; }
#head p { color: var(--body-text-color-subdued); margin: 0; max-width: 56rem; line-height: 1.5; }
#head .voice { font-size: .85rem; margin-top: 6px; }
.lead { max-width: 52rem; line-height: 1.55; }
.lead p { margin: 2px 0 0; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 10px; margin: 0; }
.numbers > div { background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 8px; padding: 10px 14px; }
.numbers dt { font-size: .78rem; color: var(--body-text-color-subdued); margin: 0; }
.numbers dd { font-size: 1.35rem; font-weight: 600; margin: 1px 0 0; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.numbers small { display: block; font-size: .74rem; color: var(--body-text-color-subdued); font-weight: 400;
  line-height: 1.35; }
.verdict { border-left: 4px solid #0f766e; background: #f0fdfa; color: #134e4a; padding: 10px 14px;
  border-radius: 4px; line-height: 1.5; overflow-wrap: anywhere; }
.verdict.bad { border-color: #dc2626; background: #fef2f2; color: #7f1d1d; }
.verdict.idle { border-color: #cbd5e1; background: #f1f5f9; color: #475569; }
.dark .verdict { border-color: #2dd4bf; background: #134e4a; color: #f0fdfa; }
.dark .verdict.bad { border-color: #f87171; background: #450a0a; color: #fee2e2; }
.dark .verdict.idle { border-color: #64748b; background: #1f2937; color: #cbd5e1; }
.dark { --color-accent: #2dd4bf; }
.wrap:has(> .error) { display: none !important; }
.table { width: 100%; border-collapse: collapse; border: 0 !important; font-size: .92rem; margin: 0; }
.table th { text-align: left; font-weight: 600; font-size: .78rem; color: var(--body-text-color-subdued); }
.table th, .table td { padding: 6px 10px 6px 0 !important; vertical-align: top; border: 0 !important;
  border-bottom: 1px solid var(--border-color-primary) !important; overflow-wrap: anywhere; }
.table tr { border: 0 !important; }
.table small { display: block; color: var(--body-text-color-subdued); line-height: 1.4; max-width: 44rem; }
.table .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
  padding-right: 0 !important; padding-left: 10px !important; }
.empty { border: 1px dashed var(--border-color-primary); border-radius: 8px; padding: clamp(20px, 4vw, 48px) 20px;
  text-align: center;  color: var(--body-text-color-subdued); }
.drawing .image-container, .drawing .image-frame { padding-top: 4px; }
.drawing { padding-top: 30px !important; }
.drawing .icon-button-wrapper { top: -30px; }
.steps .preview { background: var(--block-background-fill) !important; backdrop-filter: none !important; }
.gradio-container input[role=combobox] { text-overflow: ellipsis; padding-right: 1.5rem; }
footer { opacity: .75; }
"""
