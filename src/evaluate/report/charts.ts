// Charts of numbers with intervals: bars, and curves over a setting. Reports and the results page
// use both.

import type { ConfidenceInterval } from './bootstrap.ts';
import { renderSvg } from './svg.ts';

export interface ChartTitle {
  readonly text: string;
  readonly subtitle: string;
}

export interface Bar {
  /** Bars of one panel share an axis. */
  readonly panel: string;
  readonly name: string;
  readonly kind: 'baseline' | 'model' | 'leak';
  readonly value: number;
  readonly interval: ConfidenceInterval;
}

export interface CurvePoint {
  readonly panel: string;
  readonly curve: string;
  readonly x: number;
  readonly value: number;
  readonly interval: ConfidenceInterval;
}

const KINDS = { baseline: '#b8b8b8', model: '#2f6db3', leak: '#d95f4c' } as const;

/** Horizontal bars with intervals, in panels side by side. Panels and bars keep the given order. */
export function barChart(
  title: ChartTitle,
  bars: readonly Bar[],
  columns: number,
): Promise<string> {
  const y = {
    field: 'name',
    type: 'nominal',
    sort: distinct(bars.map(({ name }) => name)),
    title: null,
    axis: { labelLimit: 400 },
  } as const;
  return renderSvg({
    title: { ...title, anchor: 'start' },
    data: { values: bars.map(flat) },
    columns,
    facet: panelFacet(bars),
    spec: {
      width: 180,
      height: { step: 18 },
      layer: [
        {
          mark: { type: 'bar', height: 11 },
          encoding: {
            y,
            x: { field: 'value', type: 'quantitative', title: null, axis: { tickCount: 4 } },
            color: {
              field: 'kind',
              type: 'nominal',
              title: null,
              scale: { domain: Object.keys(KINDS), range: Object.values(KINDS) },
            },
          },
        },
        {
          mark: { type: 'rule', color: '#333333' },
          encoding: { y, x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } },
        },
      ],
    },
  });
}

/** Lines over `x` with bands for the intervals. Each panel has its own scale. */
export function curveChart(
  title: ChartTitle,
  xTitle: string,
  points: readonly CurvePoint[],
): Promise<string> {
  const x = { field: 'x', type: 'quantitative', title: xTitle } as const;
  const color = {
    field: 'curve',
    type: 'nominal',
    title: null,
    sort: distinct(points.map(({ curve }) => curve)),
    legend: { labelLimit: 400, symbolOpacity: 1 },
  } as const;
  const y = { type: 'quantitative', title: null, scale: { zero: false } } as const;
  return renderSvg({
    title: { ...title, anchor: 'start' },
    data: { values: points.map(flat) },
    columns: 4,
    facet: panelFacet(points),
    resolve: { scale: { y: 'independent' } },
    spec: {
      width: 200,
      height: 160,
      layer: [
        {
          mark: { type: 'area', opacity: 0.15 },
          encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color },
        },
        {
          mark: { type: 'line', point: true },
          encoding: { x, y: { ...y, field: 'value' }, color },
        },
      ],
    },
  });
}

function panelFacet(marks: readonly { readonly panel: string }[]) {
  return {
    field: 'panel',
    type: 'nominal',
    sort: distinct(marks.map(({ panel }) => panel)),
    title: null,
  } as const;
}

function flat<T extends { readonly interval: ConfidenceInterval }>({ interval, ...mark }: T) {
  return { ...mark, ...interval };
}

function distinct(values: readonly string[]): string[] {
  return [...new Set(values)];
}
