//! Tidy Parquet of the report's rows, for DuckDB, Spark or DataFusion over a fleet: the CSV's columns, typed.

use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::rows::{COLUMNS, Cell, rows};
use super::view::View;

/// The whole file: text columns are required UTF-8 (empty for none), numbers optional.
pub fn render(view: &View) -> Vec<u8> {
    write(view).expect("the columns match the schema and memory takes every write")
}

fn write(view: &View) -> Result<Vec<u8>, ParquetError> {
    let rows: Vec<_> = rows(view).collect();
    let kind = |column: usize| match rows.first().map(|r| &r[column]) {
        Some(Cell::Number(_)) => (Physical::DOUBLE, Repetition::OPTIONAL, ConvertedType::NONE),
        Some(Cell::Count(_)) => (Physical::INT64, Repetition::OPTIONAL, ConvertedType::NONE),
        _ => (Physical::BYTE_ARRAY, Repetition::REQUIRED, ConvertedType::UTF8),
    };
    let field = |(i, name): (usize, &&str)| {
        let (physical, repetition, converted) = kind(i);
        let builder = Type::primitive_type_builder(name, physical);
        builder.with_repetition(repetition).with_converted_type(converted).build().map(Arc::new)
    };
    let fields = COLUMNS.iter().enumerate().map(field).collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("report").with_fields(fields).build()?;
    // No version in `created_by`: the same record gives the same bytes whatever wrote it.
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_created_by("edge-advisor".to_owned())
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    let mut column = 0;
    while let Some(mut writer) = group.next_column()? {
        let cells = rows.iter().map(|r| &r[column]);
        match kind(column).0 {
            Physical::DOUBLE => {
                let values = cells.map(|c| if let Cell::Number(x) = c { *x } else { None });
                let (values, levels) = optional(values);
                writer.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
            }
            Physical::INT64 => {
                let values = cells.map(|c| if let Cell::Count(n) = c { *n } else { None });
                let (values, levels) = optional(values.map(|n| n.map(|n| n as i64)));
                writer.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
            }
            _ => {
                let text =
                    |c: &Cell| if let Cell::Text(s) = c { s.as_str().into() } else { "".into() };
                let values: Vec<ByteArray> = cells.map(text).collect();
                writer.typed::<ByteArrayType>().write_batch(&values, None, None)?;
            }
        }
        writer.close()?;
        column += 1;
    }
    group.close()?;
    file.into_inner()
}

/// The values that are there, and for every row whether it has one.
fn optional<T>(values: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let mut levels = Vec::new();
    let there = values.inspect(|v| levels.push(i16::from(v.is_some()))).flatten().collect();
    (there, levels)
}
